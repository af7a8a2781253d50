"""Rules on the next token: each against its plain twin, one row at a time or many, nothing mutated."""

import random

import pytest
import torch

from magic_cli.decoding.rule_settings import RuleSettings
from magic_cli.decoding.rules import (
    ForbiddenWords,
    ForcedSequences,
    MinimumLength,
    RepetitionPenalty,
    StopTexts,
    apply_rules,
)
from magic_cli.errors import MagicError, SettingsError
from tests.reference import rules as reference
from tests.reference.rules import forbidden_by

INF = float("inf")
TOKENS = ["", "c", "a", "t", " c", "at", " cat", "s", "egory", " hot", " dog", "-", "shirt", " ", ".", "!", "Cat", "e"]
RULES = {
    "repetition_penalty": RepetitionPenalty(1.3),
    "minimum_length": MinimumLength(3, {0, 17}),
    "forbidden_words": ForbiddenWords(["cat", "hot dog"], TOKENS),
    "forced_sequences": ForcedSequences([[1, 2, 3], [1, 2, 4], [9, 10]], begin_at=4),
}
each_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES.keys())


def random_rows(num_rows: int, vocab_size: int, *, seed: int) -> tuple[list[list[int]], list[list[int]]]:
    """Prompts and generated tokens of different lengths."""
    rng = random.Random(seed)
    draw = lambda least, most: [rng.randrange(vocab_size) for _ in range(rng.randint(least, most))]
    return [draw(1, 4) for _ in range(num_rows)], [draw(0, 7) for _ in range(num_rows)]


def random_logits(num_rows: int, vocab_size: int = len(TOKENS)) -> torch.Tensor:
    return torch.randn(num_rows, vocab_size, generator=torch.Generator().manual_seed(0)) * 5


@each_rule
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_input_and_type_stay_when_rule_is_applied(rule, dtype):
    logits = random_logits(30).to(dtype)
    before, (prompts, generated) = logits.clone(), random_rows(30, len(TOKENS), seed=1)
    rows = [list(row) for row in generated]
    out = rule(logits, prompts, generated)
    assert torch.equal(logits, before) and generated == rows
    assert out.dtype == dtype and out.shape == logits.shape and out.data_ptr() != logits.data_ptr()
    assert not torch.equal(out, logits)
    assert not out.isnan().any()


@each_rule
def test_batch_gives_what_single_rows_give(rule):
    logits, (prompts, generated) = random_logits(30), random_rows(30, len(TOKENS), seed=2)
    alone = [rule(logits[i : i + 1], prompts[i : i + 1], generated[i : i + 1]) for i in range(30)]
    assert torch.equal(rule(logits, prompts, generated), torch.cat(alone))


@pytest.mark.parametrize("name", [name for name in RULES if name != "repetition_penalty"])
def test_second_time_changes_nothing_when_rule_forbids(name):
    logits, (prompts, generated) = random_logits(30), random_rows(30, len(TOKENS), seed=3)
    once = RULES[name](logits, prompts, generated)
    assert torch.equal(RULES[name](once, prompts, generated), once)


@pytest.mark.parametrize(
    "rule", [RepetitionPenalty(1.0), MinimumLength(0, {0}), ForbiddenWords([], TOKENS), ForcedSequences([])],
    ids=["repetition_penalty", "minimum_length", "forbidden_words", "forced_sequences"],
)  # fmt: skip
def test_scores_stay_when_rule_is_at_its_default(rule):
    logits, (prompts, generated) = random_logits(5), random_rows(5, len(TOKENS), seed=4)
    assert torch.equal(rule(logits, prompts, generated), logits)


@pytest.mark.parametrize("penalty", [0.5, 1.2, 3.0])
def test_repetition_penalty_equals_its_twin_and_hugging_face(penalty):
    from transformers import RepetitionPenaltyLogitsProcessor

    logits, (prompts, generated) = random_logits(20), random_rows(20, len(TOKENS), seed=5)
    logits[:, 3] = -INF
    out = RepetitionPenalty(penalty)(logits, prompts, generated)
    for i in range(20):
        twin = reference.repetition_penalty(logits[i].tolist(), prompts[i], generated[i], penalty)
        assert torch.allclose(out[i], torch.tensor(twin))
        theirs = RepetitionPenaltyLogitsProcessor(penalty)(torch.tensor([prompts[i] + generated[i]]), logits[i : i + 1].clone())
        assert torch.equal(out[i], theirs[0])


def test_repetition_penalty_forbids_nothing_when_half_precision_overflows():
    logits = torch.tensor([[-60000.0, 60000.0, 1.0]], dtype=torch.float16)
    out = RepetitionPenalty(4.0)(logits, [[0]], [[1]])
    assert out.tolist() == [[-65504.0, 15000.0, 1.0]]


def test_repetition_penalty_keeps_scores_when_there_is_no_token_yet():
    assert RepetitionPenalty(2.0)(torch.ones(1, 4), [[]], [[]]).tolist() == [[1.0] * 4]


def test_repetition_penalty_leaves_the_prompt_alone_when_it_does_not_count():
    logits, (prompts, generated) = random_logits(20), random_rows(20, len(TOKENS), seed=5)
    expected = RepetitionPenalty(2.0)(logits, [[]] * 20, generated)
    assert torch.equal(RepetitionPenalty(2.0, of_prompt=False)(logits, prompts, generated), expected)
    [rule], _ = RuleSettings(repetition_penalty=2.0, repetition_in_prompt=False).build(None)
    assert torch.equal(rule(logits, prompts, generated), expected)


def test_minimum_length_equals_its_twin_when_lengths_differ():
    rule, (_, generated) = RULES["minimum_length"], random_rows(20, len(TOKENS), seed=6)
    assert {len(ids) for ids in generated} > {2, 3}
    for ids in generated:
        assert forbidden_by(rule, ids, vocab_size=len(TOKENS)) == reference.below_minimum(ids, 3, {0, 17})


@pytest.mark.parametrize("begin_at", [None, 0, 3])
def test_forced_sequences_equal_their_twin_when_sequences_overlap(begin_at):
    sequences = [[1, 2, 3], [1, 2, 4, 1], [2, 4, 5], [6], [6, 1], [3, 3, 3, 1]]
    rule, (_, generated) = ForcedSequences(sequences, begin_at=begin_at), random_rows(300, 7, seed=7)
    forced = 0
    for ids in generated:
        allowed = reference.forced(ids, sequences, begin_at)
        assert forbidden_by(rule, ids, vocab_size=7) == (set() if allowed is None else set(range(7)) - allowed)
        forced += allowed is not None
    assert 50 < forced < 250


def test_forced_sequence_is_written_to_its_end_and_keeps_its_scores():
    rule, text = ForcedSequences([[5, 5, 6]], begin_at=1), [0]
    for _ in range(3):
        logits = random_logits(1)
        out = rule(logits, [[5]], [text])  # the prompt begins none
        text.append(int(out.argmax()))
        assert out[0, text[-1]] == logits[0, text[-1]] and out.isfinite().sum() == 1
    assert text == [0, 5, 5, 6]
    assert forbidden_by(rule, text, vocab_size=len(TOKENS)) == set()


@pytest.mark.parametrize(
    ("text", "forbidden"), [([], {6, 7}), ([1, 2], {6, 7}), ([1, 5], set(range(len(TOKENS))) - {6}), ([1, 5, 6, 7, 2], {5, 6, 7})]
)
def test_tokens_of_a_sequence_stand_nowhere_else_when_it_is_written_once(text, forbidden):
    assert forbidden_by(ForcedSequences([[5, 6, 7]], once=True), text, vocab_size=len(TOKENS)) == forbidden


def test_stop_text_settles_and_cuts_at_the_earliest(language_model):
    stop, encode = StopTexts([" bus", " on top"], language_model.decode), language_model.encode
    ids = encode("A cat sitting on top of a bus.")
    lengths = [n for n in range(len(ids) + 1) if stop.is_settled(ids[:n])]
    assert lengths == list(range(lengths[0], len(ids) + 1)) and " on top" in language_model.decode([ids[: lengths[0]]])[0]
    assert stop.text([], ids) == "A cat sitting"
    assert stop.text([], encode("A bus  \n on top")) == "A"
    assert stop.text([], encode(" A dog. ")) == " A dog. "
    assert stop.text(encode("A bus on top"), encode(" of a bus.")) == "A bus on top of a", "what the prompt says stops nothing"
    assert StopTexts(["."], language_model.decode).text([], encode(".")) == ""


@pytest.mark.parametrize(
    ("min_length", "kept"), [(0, "A dog"), (2, "A dog"), (3, "A dog. A cat"), (7, "A dog. A cat"), (8, "A dog. A cat. A bus")]
)
def test_stop_text_that_begins_before_the_minimum_length_ends_nothing(language_model, min_length, kept):
    stop = StopTexts(["."], language_model.decode, min_length=min_length)
    ids = language_model.encode("A dog. A cat. A bus. A")
    assert language_model.decode([[token] for token in ids[:8]]) == ["A", " dog", ".", " ", "A", " c", "at", "."]
    assert stop.text([], ids) == kept
    first = next(n for n in range(len(ids) + 1) if stop.is_settled(ids[:n]))
    assert first > min_length and all(stop.is_settled(ids[:n]) for n in range(first, len(ids) + 1))


def test_rules_apply_in_order_and_none_gives_the_scores_themselves():
    logits, (prompts, generated) = random_logits(4), random_rows(4, len(TOKENS), seed=9)
    out = logits
    rules = [RULES[name] for name in ("repetition_penalty", "minimum_length", "forbidden_words")]
    for rule in rules:
        out = rule(out, prompts, generated)
    assert torch.equal(apply_rules(rules, logits, prompts, generated), out)
    assert apply_rules([], logits, prompts, generated) is logits


@pytest.mark.parametrize(
    ("generated", "told"), [([], "after the prompt;"), ([1, 9], "after 2 generated tokens (the last token ids: 1, 9);")]
)
def test_row_without_any_token_is_one_line(generated, told):
    rules = [ForcedSequences([[9, 0]], begin_at=0), MinimumLength(5, {0}), ForbiddenWords(["hot"], TOKENS)]
    message = "^rules: nothing may come next after .*; loosen rules.forbidden_words or rules.min_length$"
    with pytest.raises(MagicError, match=message) as error:
        apply_rules(rules, random_logits(2), [[1], [1]], [[1], generated] if generated else [generated, [1]])
    assert told in str(error.value)


def test_nan_is_left_to_its_own_message():
    assert apply_rules([MinimumLength(1, {0})], torch.full((1, 4), torch.nan), [[1]], [[]])[0, 1:].isnan().all()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"repetition_penalty": 0.0}, "rules.repetition_penalty must be greater than 0, got 0.0"),
        ({"repetition_penalty": INF}, "rules.repetition_penalty must be a finite number, got inf"),
        ({"repetition_penalty": float("nan")}, "rules.repetition_penalty must be a finite number, got nan"),
        ({"min_length": -1}, "rules.min_length must be at least 0, got -1"),
        (
            {"forbidden_words": ["a", " "]},
            "rules.forbidden_words must hold texts that are not empty, got ' ' as number 2; leave it out",
        ),
        ({"forbidden_words": "cat"}, "rules.forbidden_words must be a list, got 'cat'; write rules.forbidden_words=[cat]"),
        ({"stop_texts": [""]}, "rules.stop_texts must hold texts that are not empty, got '' as number 1; leave it out"),
    ],
)
def test_settings_are_refused_in_one_line(settings, told):
    with pytest.raises(SettingsError) as error:
        RuleSettings(**settings)
    assert str(error.value) == told


def test_settings_build_the_rules_that_are_set(language_model):
    assert RuleSettings().is_default and RuleSettings().build(language_model) == ([], None)
    settings = RuleSettings(repetition_penalty=1.2, forbidden_words=["cat"], min_length=2, stop_texts=["\n"])
    rules, stop = settings.build(language_model)
    assert not settings.is_default and isinstance(stop, StopTexts)
    assert [type(rule) for rule in rules] == [RepetitionPenalty, MinimumLength, ForbiddenWords]
    out = apply_rules(rules, torch.ones(1, language_model.vocab_size), [[language_model.start_id]], [[]])
    assert out[0, language_model.end_id] == -INF and out[0, language_model.start_id] == pytest.approx(1 / 1.2)
    assert out[0, language_model.encode(" cat")[0]] == (-INF if len(language_model.encode(" cat")) == 1 else 1)


@pytest.mark.parametrize(("typed", "read"), [("\\n", "\n"), ("a\\tb", "a\tb"), ("\n", "\n"), (" on", " on")])
def test_line_breaks_and_tabs_are_read_as_they_are_typed(typed, read):
    given = [typed]
    assert RuleSettings(stop_texts=given).stop_texts == [read] and given == [typed]


@pytest.mark.parametrize(
    ("stop", "kept"),
    [(" .", "A dog"), (".", "A dog"), (" on", "A dog. A cat"), ("n't", "A dog. A cat on a bus. A"), ("\\n", "A dog. A cat on")],
)
def test_stop_text_is_found_as_the_model_s_text_is_cleaned_up(language_model, stop, kept):
    text = "A dog . A cat on a bus. A" if stop != "\\n" else "A dog . A cat on\n a bus"
    _, stops = RuleSettings(stop_texts=[stop]).build(language_model)
    assert stops.text([], language_model.encode(text)) == kept


@pytest.mark.parametrize("name", ["stop_texts", "forbidden_words"])
def test_special_token_is_no_text(language_model, name):
    with pytest.raises(SettingsError) as error:
        RuleSettings(**{name: ["a", "b <|endoftext|>"]}).build(language_model)
    assert str(error.value) == (
        f"rules.{name}: 'b <|endoftext|>' holds the model's special token '<|endoftext|>', which stands in no text; leave it out"
    )


def test_prompt_s_tokens_that_the_model_never_writes_are_no_candidates():
    """Some models read more ids than they score."""
    logits = random_logits(1)
    for rule in (RULES["repetition_penalty"], RULES["forbidden_words"]):
        assert torch.equal(rule(logits, [[len(TOKENS) + 3, 1]], [[]]), rule(logits, [[1]], [[]]))


def test_settings_need_no_torch_when_imported():
    import subprocess
    import sys

    code = "import sys, magic_cli.decoding.rule_settings; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
