"""Incremental text features equal the model's own, whatever becomes of the text from step to step."""

import random
import shutil

import pytest
import torch
from transformers import CLIPModel

from magic_cli.models.fast import tree_attention
from magic_cli.models.faults import ModelFault
from magic_cli.models.image_text.causal_text import IncrementalTexts, cut_at_end
from magic_cli.models.image_text.huggingface_clip import HuggingFaceClip
from magic_cli.models.image_text.image_text_model import PlainTexts, pad_tokens
from magic_cli.models.loading import load_image_text_model
from magic_cli.models.settings import Family, ImageTextModelSettings
from magic_cli.models.work_counter import WorkCounter
from tests.tiny_models import CAPTIONS, clip_config, randomise
from tests.unit.models.growing import GROWING, largest_difference

CLOSE = 1e-5


@pytest.fixture
def session(clip):
    """A session of two rows."""
    session = clip.open_texts(2)
    assert isinstance(session, IncrementalTexts)
    return session


@pytest.fixture(params=[2, 12], autouse=True)
def texts_a_group(request, monkeypatch):
    """Attention takes some texts of a row at a time: fewer and more than a test's candidates."""
    monkeypatch.setattr(tree_attention, "_GROUP", request.param)


@pytest.mark.parametrize("steps", GROWING.values(), ids=GROWING.keys())
def test_features_equal_own_encoder_when_text_changes(clip, session, steps):
    for texts in steps:
        assert largest_difference(clip, session, texts) <= CLOSE


def test_features_equal_own_encoder_when_kinds_of_change_follow_each_other(clip, session):
    for texts in [texts for steps in GROWING.values() for texts in steps]:
        assert largest_difference(clip, session, texts) <= CLOSE


def test_features_equal_own_encoder_when_words_grow_letter_by_letter(clip, session):
    rng, pieces = random.Random(0), ["a", "sk", " the", " dog", ".", "ing", "é", "🙂", " 's"]
    rows = ["", ""]
    for step in range(60):
        texts = [[row + rng.choice(pieces) for _ in range(3)] for row in rows]
        assert largest_difference(clip, session, texts) <= CLOSE, step
        rows = [rng.choice(candidates) for candidates in texts]


def test_features_equal_own_encoder_when_candidates_are_many(clip, session):
    """Rows of unequal numbers of distinct texts, more than go through attention at a time."""
    rng, pieces = random.Random(1), ["", "a", "sk", " the", " dog", ".", "ing", "é", " frisbees", " 's"]
    rows = ["A", "Two"]
    for step in range(8):
        texts = [
            [row + rng.choice(pieces[:limit]) + rng.choice(pieces[:limit]) for _ in range(40)]
            for row, limit in zip(rows, (3, 10), strict=True)
        ]
        assert largest_difference(clip, session, texts) <= CLOSE, step
        rows = [rng.choice(candidates) for candidates in texts]


def test_features_equal_own_encoder_when_rows_are_selected(clip):
    session = clip.open_texts(3)
    rows = [["a man", "a dog"], ["two red", "two"], ["the umbrella on", "the umbrellas"]]
    assert largest_difference(clip, session, rows) <= CLOSE
    session.select(torch.tensor([2, 0]))
    assert largest_difference(clip, session, [["the umbrella on a", "the umbrellas"], ["a dog runs", "a man"]]) <= CLOSE
    session.select(torch.tensor([1, 1, 0]))
    rows = [["a dog runs on", "a dog runner"], ["a cat", "a dog"], ["the umbrella on a beach", "the umb"]]
    assert largest_difference(clip, session, rows) <= CLOSE


def test_features_equal_own_encoder_when_rows_end_one_after_the_other(clip):
    rng, session = random.Random(3), clip.open_texts(6)
    rows = ["a", "the umbrella on a", "a cat", "a dog runs on the", "the", "a man"]
    for kept in ([0, 1, 2, 3, 4, 5], [1, 2, 3, 5], [0, 1, 2, 3], [0, 2], [1]):
        with torch.inference_mode():
            session.select(torch.tensor(kept))
        rows = [f"{rows[row]} {rng.choice(['dog', 'umbrellas', 'beach'])}" for row in kept]
        assert largest_difference(clip, session, [[row, f"{row} and", f"{row}s"] for row in rows]) <= CLOSE, kept


def test_rows_of_a_session_that_was_opened_in_inference_mode_are_selected_outside(clip):
    with torch.inference_mode():
        session = clip.open_texts(3)
        session.encode([["a man", "a dog"], ["two", "red"], ["the", "umbrella"]])
    session.select(torch.tensor([0, 2]))
    assert largest_difference(clip, session, [["a man on", "a man"], ["the dog", "the umbrella"]]) <= CLOSE


def test_features_equal_own_encoder_when_tower_has_one_layer(clip):
    config = clip_config(len(clip.tokenizer))
    config.text_config.num_hidden_layers = 1
    model = HuggingFaceClip(randomise(CLIPModel(config), seed=2), clip.tokenizer, clip.image_processor, logit_scale=20.0)
    session = model.open_texts(2)
    assert isinstance(session, IncrementalTexts)
    for texts in GROWING["last_word_rewritten"]:
        assert largest_difference(model, session, texts) <= CLOSE


def test_only_new_tokens_are_encoded_when_text_grows(clip):
    session = clip.open_texts(1)
    clip.work.counts.clear()
    with torch.inference_mode():
        session.encode([["a dog", "a cat", "a dog"]])  # start, a | dog, end | cat, end; the third is the first again
        assert dict(clip.work.counts) == {"texts_encoded": 2, "text_tokens": 6}
        # "dog" is shared now and was computed above: only runs, end | sits, end | end
        session.encode([["a dog runs", "a dog sits", "a dog"]])
    assert dict(clip.work.counts) == {"texts_encoded": 5, "text_tokens": 11}


def test_what_tails_have_in_common_is_encoded_once(clip):
    session = clip.open_texts(1)
    clip.work.counts.clear()
    with torch.inference_mode():
        session.encode([["a dog runs", "a dog sits", "a cat"]])  # start, a | dog | runs, end | sits, end | cat, end
    assert dict(clip.work.counts) == {"texts_encoded": 3, "text_tokens": 9}


def test_rows_with_the_same_texts_are_encoded_once_and_may_part(clip, session):
    clip.work.counts.clear()
    with torch.inference_mode():
        session.encode([["a dog", "a cat", "a"], ["a cat", "a", "a dog"]])  # start, a | end | dog, end | cat, end
        assert dict(clip.work.counts) == {"texts_encoded": 3, "text_tokens": 7}
        # "dog" and "cat" were computed above, for the first row: runs, end | sits, end, each twice
        session.encode([["a dog runs", "a dog sits"], ["a cat runs", "a cat sits"]])
    assert dict(clip.work.counts) == {"texts_encoded": 7, "text_tokens": 15}


def test_features_equal_own_encoder_when_rows_meet_and_part(clip):
    rng, pieces = random.Random(2), ["", "a", "sk", " the", " dog", ".", "ing", " frisbees"]
    session, rows = clip.open_texts(3), ["A", "A", "A"]
    for step in range(12):
        ends = [rng.choice(pieces) + rng.choice(pieces) for _ in range(15)]
        texts = [rng.sample(texts, 15) for texts in ([row + end for end in ends] for row in rows)]
        assert largest_difference(clip, session, texts) <= CLOSE, step
        chosen = rng.choice(ends)
        rows = [row + (chosen if rng.random() < 0.7 else rng.choice(ends)) for row in rows]


def test_feature_is_pooled_at_first_end_when_text_names_it(clip):
    with torch.inference_mode():
        features = clip.open_texts(1).encode([["a dog<|endoftext|>", "a dog<|endoftext|> a cat", "a dog"]])
    assert torch.equal(features[0, 0], features[0, 2]) and torch.equal(features[0, 1], features[0, 2])


def test_tower_is_not_used_when_it_disagrees_with_own_encoder(clip):
    broken = clip.read_tower()
    broken.num_heads = 2
    clip.text_tower = None
    clip.adopt_tower(broken)
    assert clip.text_tower is None and isinstance(clip.open_texts(1), PlainTexts)
    broken.num_heads = 5  # does not divide the width: an exception inside
    clip.adopt_tower(broken)
    assert clip.text_tower is None


def test_plain_session_equals_own_encoder_when_texts_repeat(clip):
    clip.text_tower = None
    session = clip.open_texts(2)
    clip.work.counts.clear()
    assert largest_difference(clip, session, [["a dog", "a cat", "a dog"], ["a dog", "", "x"]]) <= CLOSE
    session.encode([["a", "b"], ["a", "b"]])
    assert clip.work.counts["texts_encoded"] == 6 + 4 + 2  # six by the comparison itself


def test_own_features_stay_the_same_when_batch_has_longer_texts(clip):
    alone = torch.cat([clip.encode_texts([text]) for text in CAPTIONS[:5]])
    assert torch.allclose(clip.encode_texts(CAPTIONS[:5]), alone, atol=1e-5)
    assert torch.allclose(clip.encode_texts([*CAPTIONS[:5], "word " * 100])[:5], alone, atol=1e-5)


def test_tokens_end_at_first_end_token_when_cut():
    assert cut_at_end([1, 5, 2, 7, 2, 0], end_id=2) == [1, 5, 2]
    assert cut_at_end([1, 2], end_id=2) == [1, 2]


def test_tokenizer_that_puts_no_end_token_is_refused_when_the_model_is_loaded(
    tiny_clip_folder, tiny_language_model_folder, tmp_path
):
    folder = shutil.copytree(tiny_clip_folder, tmp_path / "clip", ignore=shutil.ignore_patterns("tokenizer*"))
    for file in tiny_language_model_folder.glob("tokenizer*"):
        shutil.copy(file, folder)
    settings = ImageTextModelSettings(path=str(folder), family=Family.huggingface_clip)
    with pytest.raises(
        ModelFault, match="clip: its tokenizer ends no text with the end token, whose id is 0; give it its own tokenizer"
    ):
        load_image_text_model(settings, device=torch.device("cpu"), dtype=torch.float32, work=WorkCounter())


def test_rows_are_padded_with_end_token_when_shorter():
    assert pad_tokens([[1, 5, 2], [1, 2]], end_id=2).tolist() == [[1, 5, 2], [1, 2, 2]]
    assert pad_tokens([[1, 2]], end_id=2, length=4).tolist() == [[1, 2, 2, 2]]
