"""Token ids as in the paper: start and end of captions, titles of stories, what is cut and what is dropped."""

from dataclasses import replace

import pytest

from magic_cli.data.training_texts import TextForm
from magic_cli.errors import MagicError
from magic_cli.training.finetune import plan_notes
from magic_cli.training.loop import total_steps
from magic_cli.training.samples import Samples, encode
from magic_cli.training.settings import FinetuneSettings, OptimizerSettings
from tests import tiny_models


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return tiny_models.build_language_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def caption_samples(tokenizer, texts, max_length=64):
    start = tokenizer.convert_tokens_to_ids(tiny_models.START)
    return encode(texts, tokenizer, form=TextForm.caption, start_id=start, max_length=max_length)


def test_caption_stands_between_start_and_end(tokenizer):
    found = caption_samples(tokenizer, ["A man riding a wave.", "A"])
    start = tokenizer.convert_tokens_to_ids(tiny_models.START)
    assert found.rows == [[start, *tokenizer("A man riding a wave.")["input_ids"], tokenizer.eos_token_id]]
    assert (found.num_words, found.num_dropped, found.num_cut) == (5, 1, 0)
    assert found.num_targets == len(found.rows[0]) - 1


def test_long_caption_is_cut_before_the_end_token_and_its_words_are_counted_anew(tokenizer):
    text = "Two dogs are running over the green grass."
    found = caption_samples(tokenizer, [text], max_length=4)
    assert len(found.rows[0]) == 6 and found.rows[0][-1] == tokenizer.eos_token_id
    assert found.num_cut == 1 and found.num_words == len(tokenizer.decode(found.rows[0][1:-1]).split())


def test_story_is_title_end_story_with_nothing_behind(tokenizer):
    found = encode(["The Cake\tAnna baked a cake."], tokenizer, form=TextForm.story, start_id=None, max_length=128)
    assert tokenizer.decode(found.rows[0]) == f"The Cake {tiny_models.END} Anna baked a cake."
    assert found.rows[0].count(tokenizer.eos_token_id) == 1 and found.num_words == 6
    cut = encode(["The Cake\tAnna baked a cake."], tokenizer, form=TextForm.story, start_id=None, max_length=5)
    assert cut.rows[0] == found.rows[0][:5]


@pytest.mark.parametrize(
    ("texts", "form", "part"), [(["A"], TextForm.caption, "more than one token"), (["no tab"], TextForm.story, "no tab")]
)
def test_texts_that_teach_nothing_are_one_line(tokenizer, texts, form, part):
    with pytest.raises(MagicError, match=part):
        encode(texts, tokenizer, form=form, start_id=0, max_length=8)


@pytest.mark.parametrize(
    ("texts", "options", "plan", "is_warned"),
    [
        (300, {}, "300 training texts, 1 text to measure on: 3 updates of 128 texts, so each is seen 1.28 times", True),
        (1, {}, "1 training text, 1 text to measure on: 1 update of 128 texts, so each is seen 128 times", True),
        (
            300,
            {"epochs": 50.0},
            "300 training texts, 1 text to measure on: 118 updates of 128 texts, so each is seen 50.3 times",
            False,
        ),
        (
            300,
            {"steps": 3},
            "300 training texts, 1 text to measure on: 3 updates of 128 texts, so each is seen 1.28 times",
            False,
        ),
    ],
)
def test_plan_says_how_few_updates_few_texts_make(texts, options, plan, is_warned):
    settings = FinetuneSettings(dataset=None, language_model=None, optimizer=OptimizerSettings(**options))
    samples, measured = (Samples([[1, 2]] * count, 2, num_dropped=0, num_cut=0) for count in (texts, 1))
    notes = plan_notes(settings, samples, measured, total_steps(settings, texts))
    assert notes[0] == plan and bool(notes[1:]) == is_warned
    assert all(note.startswith("warning: ") and "hardly change the model; optimizer.steps=500" in note for note in notes[1:])
    assert "(7 of them cut at run.max_length=64 tokens)" in plan_notes(settings, replace(samples, num_cut=7), measured, 1)[0]
