"""Every caption and story that the released code wrote with the parity models, token for token.

Skipped only where the ``shared`` folder does not lie beside the checkout. A case may differ only where the released
run's best and second score were closer than 2e-5; there is no such case. On the CPU, and on CUDA where there is one.
"""

import json
from collections import defaultdict
from pathlib import Path

import pytest
import torch
from PIL import Image

from magic_cli.decoding.magic import MagicSearch
from magic_cli.decoding.text import CaptionFormat, StoryFormat, story_prompt
from magic_cli.models.image_text.huggingface_clip import load_huggingface
from magic_cli.models.language.language_model import HuggingFaceLanguageModel
from magic_cli.models.loading import resolve_device
from magic_cli.models.work_counter import WorkCounter
from tests.decoding import Guidance, generate

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
PHOTOS = {"captions": SHARED / "data" / "photos" / "coco_test", "stories": SHARED / "data" / "photos" / "story"}
NUM_CASES = {"captions": 60, "stories": 30}
TOO_CLOSE = 2e-5

pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared folder is not beside this checkout")


@pytest.fixture(scope="module")
def language_model(device):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = SHARED / "parity" / "language_model"
    network = AutoModelForCausalLM.from_pretrained(folder).to(resolve_device(device))
    return HuggingFaceLanguageModel(network, AutoTokenizer.from_pretrained(folder))


@pytest.fixture(scope="module")
def parity_clip(device):
    options = {"device": resolve_device(device), "dtype": torch.float32, "work": WorkCounter()}
    return load_huggingface(SHARED / "parity" / "clip", family="huggingface_clip", **options)


@pytest.fixture(scope="module")
def image_features(parity_clip):
    """(E,) features of every photo, by kind and file name."""
    features = {}
    for kind, folder in PHOTOS.items():
        for photo in sorted({case["photo"] for case in read_cases(kind)}):
            with Image.open(folder / photo) as image:
                features[kind, photo] = parity_clip.encode_images([image.convert("RGB")])[0]
    return features


def read_cases(kind):
    cases = json.loads((SHARED / "parity" / f"{kind}.json").read_text())
    assert len(cases) == NUM_CASES[kind]
    return cases


def batches(cases, size):
    """Cases with the same settings, at most ``size`` together."""
    groups = defaultdict(list)
    for case in cases:
        groups[case["k"], case["alpha"], case["beta"], case["decoding_len"]].append(case)
    for (k, alpha, beta, decoding_len), group in groups.items():
        method = MagicSearch(decoding_len, k=k, alpha=alpha, beta=beta)
        for start in range(0, len(group), size):
            yield method, group[start : start + size]


@pytest.fixture
def differing(language_model, parity_clip, image_features, monkeypatch):
    """Run all cases of a kind; returns those whose text (and tokens, where given and complete) differ."""

    def run(kind, *, batch_size, look_ahead="tree", plain_tower=False, stop=True):
        assert parity_clip.text_tower is not None
        if plain_tower:
            monkeypatch.setattr(parity_clip, "text_tower", None)
        text_format = CaptionFormat(language_model) if kind == "captions" else StoryFormat(language_model)
        wrong = []
        for method, cases in batches(read_cases(kind), batch_size):
            language_model.prepare(decoding_len=method.decoding_len, num_candidates=method.k, look_ahead=look_ahead)
            prompts = [prompt_of(language_model, case) for case in cases]
            images = torch.stack([image_features[kind, case["photo"]] for case in cases])
            results = generate(
                language_model, method, prompts, guidance=Guidance(parity_clip, images), text_format=text_format if stop else None
            )
            for case, prompt, ids in zip(cases, prompts, results, strict=True):
                same = text_format.text(prompt, ids) == case["text" if kind == "captions" else "story"]
                if not stop and "token_ids" in case:
                    same = same and [*prompt, *ids] == case["token_ids"]
                if not same and case["smallest_margin"] >= TOO_CLOSE:
                    wrong.append((case, text_format.text(prompt, ids)))
        return wrong

    return run


def prompt_of(language_model, case):
    if "title" not in case:
        return language_model.encode_prompt(None)
    prompt = language_model.encode(story_prompt(case["title"], "<|endoftext|>"))
    assert prompt == case["prompt_ids"]
    return prompt


def test_no_case_is_too_close_when_margins_are_read():
    assert all(case["smallest_margin"] >= TOO_CLOSE for kind in NUM_CASES for case in read_cases(kind))


@pytest.mark.parametrize("batch_size", [pytest.param(1, marks=pytest.mark.slow), 8])
def test_captions_equal_released_code_when_run_as_users_run_them(differing, batch_size):
    assert differing("captions", batch_size=batch_size) == []


@pytest.mark.parametrize(
    "options",
    [{"look_ahead": "repeated"}, {"plain_tower": True}, {"stop": False}],
    ids=["repeated", "plain_tower", "full_length"],
)
def test_captions_equal_released_code_when_a_shortcut_is_off(differing, options):
    assert differing("captions", batch_size=8, **options) == []


def test_stories_equal_released_code_when_decoding_stops_early(differing):
    assert differing("stories", batch_size=8) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [{"batch_size": 8}, {"batch_size": 1}, {"batch_size": 8, "look_ahead": "repeated", "plain_tower": True}],
    ids=["batch_of_8", "batch_of_1", "no_shortcut"],
)
def test_story_tokens_equal_released_code_when_decoded_to_full_length(differing, options):
    assert differing("stories", stop=False, **options) == []


# per text, with batches of 8; a change that makes one of these grow makes decoding slower on every machine, and one that
# makes it shrink is to be written down here. Where alpha is large beside beta, texts that cannot win are not encoded
WORK = {
    "captions": {"lm_positions": 122.0, "head_rows": 13.3, "texts_encoded": 192.8, "text_tokens": 412.9},
    "stories": {"lm_positions": 68.4, "head_rows": 9.2, "texts_encoded": 41.1, "text_tokens": 88.9},
}


@pytest.mark.parametrize("kind", NUM_CASES)
def test_work_stays_as_little_as_it_was(differing, language_model, parity_clip, kind):
    works = language_model.work, parity_clip.work
    for work in works:
        work.counts.clear()
    assert differing(kind, batch_size=8) == []
    done = works[0].counts + works[1].counts
    per_text = {name: round(done[name] / NUM_CASES[kind], 1) for name in WORK[kind]}
    assert per_text == {name: pytest.approx(number, rel=0.02) for name, number in WORK[kind].items()}
