"""On every device the core writes the reference's tokens: the same tests on the CPU, and on CUDA where there is one."""

import copy

import pytest
import torch

from magic_cli.decoding.magic import ContrastiveSearch, MagicSearch
from magic_cli.models.image_text.huggingface_clip import load_huggingface
from magic_cli.models.language.language_model import HuggingFaceLanguageModel
from magic_cli.models.loading import resolve_device
from magic_cli.models.work_counter import WorkCounter
from tests.decoding import Guidance, generate
from tests.reference import search as reference
from tests.reference.text import decode

LENGTH = 14
SETTINGS = {"k": 6, "alpha": 0.1, "beta": 2.0, "decoding_len": LENGTH}


@pytest.fixture
def make_model(network_and_tokenizer, device):
    """Make the tiny language model on the device, prepared: ``make_model(look_ahead="tree")``."""
    network, tokenizer = network_and_tokenizer

    def make(*, look_ahead="tree"):
        model = HuggingFaceLanguageModel(copy.deepcopy(network).to(device), tokenizer)
        model.prepare(decoding_len=LENGTH, num_candidates=SETTINGS["k"], look_ahead=look_ahead)
        return model

    return make


@pytest.fixture
def model(make_model):
    return make_model()


@pytest.fixture
def clip_there(tiny_clip_folder, device):
    """The tiny CLIP model, loaded on the device."""
    options = {"device": torch.device(device), "dtype": torch.float32, "work": WorkCounter()}
    return load_huggingface(tiny_clip_folder, family="huggingface_clip", **options)


@pytest.mark.parametrize("image", [0, 4])
def test_magic_search_writes_reference_tokens_when_it_runs_there(
    model, clip_there, clip, image_features, images, network_and_tokenizer, image, device
):
    network, tokenizer = network_and_tokenizer
    match = reference.released_match(
        lambda ids: decode(tokenizer, ids),
        lambda texts: clip.encode_texts(texts).double(),
        image_features[image].double(),
        logit_scale=clip.logit_scale,
    )
    expected = reference.search(network, [model.start_id], match=match, **SETTINGS)
    assert expected.smallest_margin > 2e-5 and expected.smallest_gap > 1e-5  # clear decisions, whatever the rounding
    features = clip_there.encode_images([images[image]])
    assert features.device.type == device
    guidance = Guidance(clip_there, features)
    assert generate(model, MagicSearch(**SETTINGS), [[model.start_id]], guidance=guidance) == [expected.ids]


@pytest.mark.parametrize("lazy", [True, False])
def test_batch_writes_what_images_alone_do_when_it_runs_there(model, clip_there, images, lazy):
    features, prompt = clip_there.encode_images(images), [model.start_id]
    method = MagicSearch(**SETTINGS)
    alone = [
        generate(model, method, [prompt], guidance=Guidance(clip_there, features[i : i + 1]), lazy=False)[0]
        for i in range(len(images))
    ]
    assert len({tuple(ids) for ids in alone}) > 1
    assert generate(model, method, [prompt] * 6, guidance=Guidance(clip_there, features), lazy=lazy) == alone


@pytest.mark.parametrize("look_ahead", ["tree", "repeated", "recompute"])
def test_every_look_ahead_writes_reference_tokens_when_it_runs_there(make_model, network_and_tokenizer, look_ahead):
    network, _ = network_and_tokenizer
    model = make_model(look_ahead=look_ahead)
    settings = {"k": 5, "alpha": 0.6, "decoding_len": LENGTH}
    prompts = [model.encode("A man riding a"), model.encode("Two dogs")]
    expected = [reference.search(network, prompt, **settings) for prompt in prompts]
    assert min(outcome.smallest_margin for outcome in expected) > 2e-5
    assert generate(model, ContrastiveSearch(**settings), prompts) == [outcome.ids for outcome in expected]


def test_device_is_found_when_it_is_named(device):
    assert resolve_device(device).type == device
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
