"""Two image-text models steer one text: equal to a slow twin that adds their scores."""

import pytest
from transformers import CLIPModel

from magic_cli.decoding.generate import generate
from magic_cli.decoding.magic import MagicSearch
from magic_cli.decoding.request import Options
from magic_cli.errors import SettingsError
from magic_cli.guides.base import Images
from magic_cli.guides.second_model import SecondModel
from magic_cli.image_features.viewers import Viewer
from magic_cli.models.image_text.huggingface_clip import HuggingFaceClip
from magic_cli.models.work_counter import WorkCounter
from tests.decoding import Guidance
from tests.decoding import generate as generate_one
from tests.reference import search as reference
from tests.reference.text import decode
from tests.tiny_models import clip_config, randomise

LENGTH = 14
METHOD = MagicSearch(LENGTH, k=5, alpha=0.3, beta=0.7)


@pytest.fixture(scope="module")
def other(loaded_clip):
    """Another tiny CLIP: other weights, other temperature."""
    network = randomise(CLIPModel(clip_config(len(loaded_clip.tokenizer))), seed=5)
    return HuggingFaceClip(network, loaded_clip.tokenizer, loaded_clip.image_processor, logit_scale=30.0, work=WorkCounter())


@pytest.mark.parametrize("lazy", [True, False])
def test_two_models_equal_the_slow_twin(
    viewers, other, language_model, network_and_tokenizer, clip, images, image_features, lazy, monkeypatch
):
    network, tokenizer = network_and_tokenizer
    monkeypatch.setattr(viewers, "add", lambda settings: Viewer(other, {"family": settings.family.value}, 1))
    guide = SecondModel(weight=0.5).load()
    assert guide.open(viewers) == {"family": "huggingface_clip"}
    features = (image_features[:3], other.encode_images(images[:3]))
    guides = guide.steer([METHOD.image_guide(clip, features[0])], Images(features, [()] * 3))
    written = [one.ids for one in generate(language_model, METHOD, [[language_model.start_id]] * 3, guides, Options(lazy=lazy))]
    read = lambda ids: decode(tokenizer, ids)
    for row, ids in enumerate(written):
        first, second = (
            reference.released_match(
                read,
                lambda texts, model=model: model.encode_texts(texts).double(),
                seen[row].double(),
                logit_scale=model.logit_scale,
            )
            for model, seen in zip((clip, other), features, strict=True)
        )
        expected = reference.search(
            network, [language_model.start_id], decoding_len=LENGTH, k=5, alpha=0.3, match=first, beta=0.7, others=[(second, 0.5)]
        )
        assert ids == expected.ids
    assert written != generate_one(language_model, METHOD, [[language_model.start_id]] * 3, guidance=Guidance(clip, features[0]))


def test_faults_are_named_by_its_own_group():
    with pytest.raises(SettingsError, match="^guides.second_model.path=/nowhere: no such file or folder"):
        SecondModel(path="/nowhere")
    with pytest.raises(SettingsError, match="^guides.second_model.weight must be 0 or at least 1e-06, got 1e-09"):
        SecondModel(weight=1e-9)
    assert not SecondModel(weight=0.0).is_active
