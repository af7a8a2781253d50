"""Captions and stories are cut out of tokens as the released code does."""

import random

import pytest

from magic_cli.decoding.text import CaptionFormat, StoryFormat, first_sentences, story_prompt
from tests.reference import text as reference
from tests.tiny_models import CAPTIONS


@pytest.fixture
def caption(language_model):
    return CaptionFormat(language_model)


@pytest.fixture
def story(language_model):
    return StoryFormat(language_model)


def test_caption_ends_at_first_end_of_text_when_tokens_follow(language_model, caption):
    ids = [*language_model.encode("A red bus."), language_model.end_id, *language_model.encode("A dog."), language_model.end_id]
    assert caption.text([language_model.start_id], ids) == "A red bus."
    assert caption.is_settled(ids) and not caption.is_settled(ids[: ids.index(language_model.end_id)])


def test_caption_drops_start_tokens_when_model_writes_them(language_model, caption):
    start = language_model.start_id
    ids = [start, *language_model.encode("A red"), start, *language_model.encode(" bus")]
    assert caption.text([start], ids) == "A red bus"


def test_caption_begins_with_prompt_words_when_prompt_has_some(language_model, caption):
    prompt = [language_model.start_id, *language_model.encode("A man")]
    assert caption.text(prompt, language_model.encode(" riding  a\n wave .")) == "A man riding a wave."


def test_caption_is_empty_when_end_of_text_comes_first(language_model, caption):
    assert caption.text([language_model.start_id], [language_model.end_id, 5, 6]) == ""


def test_caption_equals_reference_when_tokens_are_random(language_model, caption):
    rng, start = random.Random(0), language_model.start_id
    for _ in range(200):
        ids = rng.choices(range(language_model.vocab_size), k=12) + language_model.encode(rng.choice(CAPTIONS))
        rng.shuffle(ids)
        assert caption.text([start], ids) == reference.caption(language_model.tokenizer, [start, *ids])


def test_story_equals_reference_when_tokens_are_random(language_model, story):
    rng = random.Random(0)
    prompt = language_model.encode(story_prompt("Skipping school", "<|endoftext|>"))
    settled_early = 0
    for _ in range(200):
        ids = [i for text in rng.choices(CAPTIONS, k=4) for i in language_model.encode(" " + text)]
        for _ in range(6):
            ids.insert(rng.randrange(len(ids)), rng.randrange(language_model.vocab_size))
        expected = reference.story(language_model.tokenizer, [*prompt, *ids])
        assert story.text(prompt, ids) == expected
        first = next((n for n in range(1, len(ids) + 1) if story.is_settled(ids[:n])), None)
        if first is not None:
            settled_early += first < len(ids)
            assert all(story.text(prompt, ids[:n]) == expected for n in range(first, len(ids) + 1))
            assert all(story.is_settled(ids[:n]) for n in range(first, len(ids) + 1))
    assert settled_early > 50


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("One", "One"),
        ("One. Two.", "One. Two"),
        ("One. Two. Three. Four. Five.", "One. Two. Three. Four. Five."),
        ("One. Two. Three. Four. Five", "One. Two. Three. Four. Five"),
        ("One. Two. Three. Four. Five. Six. Seven.", "One. Two. Three. Four. Five."),
        ("One! Two? Three. Four", "One! Two? Three. Four"),
        ("......", "."),
        ("Mr. Smith. He ran...", "Mr. Smith. He ran."),
    ],
)
def test_story_keeps_five_sentences_when_split_at_full_stops(text, expected):
    assert first_sentences(text) == expected


def test_story_is_settled_when_fifth_sentence_is_complete(language_model, story):
    four, five = "A. B. C. D. E", "A. B. C. D. E."
    assert not story.is_settled(language_model.encode(four))
    assert story.is_settled(language_model.encode(five))
    assert story.is_settled([*language_model.encode("A."), language_model.end_id])
