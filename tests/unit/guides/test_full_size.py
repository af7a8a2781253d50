"""The memory with the shapes of GPT-2 small and CLIP ViT-B/32, random weights."""

import json

import pytest
import torch

from magic_cli.benchmark.models import random_clip, random_images, random_language_model
from magic_cli.decoding.generate import generate
from magic_cli.decoding.magic import MagicSearch
from magic_cli.guides.base import Images
from magic_cli.guides.memory import Memory, Use
from magic_cli.image_features.viewers import Viewer
from magic_cli.models.language.language_model import HuggingFaceLanguageModel
from tests.reference import memory as slow
from tests.reference import search as reference
from tests.reference.text import decode
from tests.tiny_models import CAPTIONS

METHOD = MagicSearch(9, k=8, alpha=0.1, beta=2.0)


@pytest.mark.slow
@pytest.mark.long
def test_full_size_models_equal_magic_without_weight_and_the_slow_twin_with_it(viewers, tmp_path):
    network, tokenizer = random_language_model()
    clip, features = random_clip(), random_images(2)
    model = HuggingFaceLanguageModel(network, tokenizer)
    model.prepare(decoding_len=METHOD.decoding_len, num_candidates=METHOD.num_candidates)
    prompts = [[model.begin_id]] * 2
    viewers.list[:] = [Viewer(clip, {"family": "huggingface_clip", "files": {"full": "size"}}, 0)]
    (tmp_path / "captions.json").write_text(json.dumps(CAPTIONS))
    settings = {
        "captions_file": str(tmp_path / "captions.json"),
        "folder": str(tmp_path / "index"),
        "features": "float32",
        "neighbours": 5,
    }
    written = {}
    for weight in (0.0, 0.5):
        memory = Memory(**settings, weight=weight, use=Use.mix).load()
        memory.open(viewers)
        guides = memory.steer([METHOD.image_guide(clip, features)], Images((features,), [(), ()]))
        written[weight] = [one.ids for one in generate(model, METHOD, prompts, guides)]
    assert written[0.0] == [one.ids for one in generate(model, METHOD, prompts, [METHOD.image_guide(clip, features)])]
    assert written[0.5] != written[0.0]
    texts = clip.encode_texts(CAPTIONS).double().tolist()
    encode = lambda sentences: clip.encode_texts(sentences).double()
    for image, ids in zip(features.double().tolist(), written[0.5], strict=True):
        recalled, _ = slow.recall(image, texts, neighbours=5, temperature=0.02)
        vector = torch.tensor(slow.mixed(image, recalled, 0.5), dtype=torch.float64)
        match = reference.released_match(lambda words: decode(tokenizer, words), encode, vector, logit_scale=clip.logit_scale)
        expected = reference.search(
            network, prompts[0], decoding_len=METHOD.decoding_len, k=METHOD.k, alpha=METHOD.alpha, match=match, beta=METHOD.beta
        )
        assert ids == expected.ids
