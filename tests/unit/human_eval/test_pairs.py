"""Two systems side by side: which items, on which sides, and what the answers say."""

import json
import re
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from magic_cli.errors import MagicError, SettingsError
from magic_cli.evaluation.settings import BootstrapSettings
from magic_cli.human_eval.answers import Preferences, read_preferences
from magic_cli.human_eval.aspects import PAIRS, Kind
from magic_cli.human_eval.forms import check_key, make_key
from magic_cli.human_eval.page import page, picture_uri
from magic_cli.human_eval.pair_scoring import score_pairs
from magic_cli.human_eval.pairs import make_pair_forms, match_pair, read_pair
from tests.unit.human_eval.studies import answer_document

QUESTIONS = [aspect.key for aspect in PAIRS.aspects]


def write_run(folder, count=5, told="Go on.", text="It goes on.", drawn=(0, 1, 2), first=0):
    """A run of ``magic interleave``: items of one step, those whose numbers are in ``drawn`` with an image."""
    (folder / "images").mkdir(parents=True)
    records = []
    for i in range(first, first + count):
        image = f"images/{i}.png" if i in drawn else None
        if image:
            Image.new("RGB", (8, 8), (i, len(text), 0)).save(folder / image)
        step = {"parts": [{"text": told}], "text": text, "image": image}
        records.append({"id": f"item-{i}", "text": text, "history": [{"text": "Long ago."}], "steps": [step]})
    (folder / "predictions.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(folder)


def study(folder, count=5, annotators=2, seed=0):
    runs = [write_run(folder / "ours", count, text="By us."), write_run(folder / "theirs", count, text="By them.")]
    systems = read_pair(runs, [])
    items, _ = match_pair(systems)
    forms = make_pair_forms(items, ("ours", "theirs"), lambda path: picture_uri(path, side=640), annotators=annotators, seed=seed)
    return forms, make_key(forms, {system.name: str(system.source) for system in systems}, seed)


def answer_file(folder, form, key, choose):
    """The answer file of a form; ``choose(side A's system, question)`` gives each answer, None: none."""
    given = {}
    for name in form.questions():
        number, question = name.split(".")
        letters = key["forms"][form.id]["cards"][int(number) - 1]["letters"]
        if (value := choose(letters["A"], question)) is not None:
            given[name] = value
    path = folder / f"answers-{form.annotator}.json"
    path.write_text(json.dumps(answer_document(form, key, given)))
    return path


@pytest.mark.parametrize(("count", "annotators"), [(5, 3), (6, 2), (1, 4), (7, 1)])
def test_sides_are_balanced_within_one_in_each_form_for_each_item_and_in_all(count, annotators, tmp_path):
    for seed in range(4):
        forms, _ = study(tmp_path / str(seed), count, annotators, seed)
        lefts = [(form.annotator, card.item, card.systems[0]) for form in forms for card in form.cards]
        groups = [Counter(left for *_, left in lefts)]
        groups += [Counter(left for one, _, left in lefts if one == form.annotator) for form in forms]
        groups += [Counter(left for _, item, left in lefts if item == f"item-{i}") for i in range(count)]
        assert all(abs(group["ours"] - group["theirs"]) <= 1 for group in groups)


def test_sides_and_order_look_random_and_come_again_with_the_seed(tmp_path):
    sides = [[card.systems[0] for card in study(tmp_path / str(seed), 12, 1, seed)[0][0].cards] for seed in range(6)]
    assert len({tuple(one) for one in sides}) == 6
    again, _ = study(tmp_path / "again", 12, 1, 3)
    assert [card.systems[0] for card in again[0].cards] == sides[3]


def test_form_shows_both_answers_and_names_no_system(tmp_path):
    forms, key = study(tmp_path)
    assert check_key(key, "key.json") is Kind.pairs
    text = page(forms[0], key["study"])
    assert text.count("By us.") == text.count("By them.") == 5 and text.count("Long ago.") == 5
    assert (
        text.count('<img src="data:image/png;base64,') == 6
        and "ours" not in text
        and "theirs" not in text
        and "item-" not in text
    )
    names = re.findall(r'fieldset data-question="([^"]+)"', text)
    asked = Counter(name.split(".")[1] for name in names)
    assert names == forms[0].questions() and asked == {"language": 5, "image_quality": 3, "coherence": 3}
    assert re.findall(r'name="1.language" value="(\d)"[^>]*aria-label="([^"]+)"', text) == [
        ("1", "A is better"), ("2", "Both are alike"), ("3", "B is better"),
    ]  # fmt: skip


def test_preferences_find_their_way_back_through_the_sides(tmp_path):
    forms, key = study(tmp_path)
    files = [
        answer_file(tmp_path, form, key, lambda left, question: 2 if question == "coherence" else 1 if left == "ours" else 3)
        for form in forms
    ]
    found = read_preferences(files, key, accept_incomplete=False)
    assert found.systems == ("ours", "theirs") and found.annotators == (1, 2) and found.num_open == 0
    assert (
        (found.preferred[..., 0] == 1).all() and (found.preferred[:, :3, 1] == 1).all() and (found.preferred[:, :3, 2] == 0).all()
    )
    assert np.isnan(found.preferred[:, 3:, 1:]).all()


def test_fourth_choice_and_open_questions_are_refused(tmp_path):
    forms, key = study(tmp_path)
    with pytest.raises(MagicError, match="must be a whole number from 1 to 3, got 4"):
        read_preferences([answer_file(tmp_path, forms[0], key, lambda left, question: 4)], key, accept_incomplete=False)
    half = answer_file(tmp_path, forms[0], key, lambda left, question: 1 if question == "language" else None)
    with pytest.raises(MagicError, match="6 of 11 questions are open"):
        read_preferences([half], key, accept_incomplete=False)
    assert read_preferences([half], key, accept_incomplete=True).num_open == 6


def test_shares_equal_plain_loops():
    rng = np.random.default_rng(0)
    preferred = rng.integers(-1, 2, size=(3, 20, 3)).astype(float)
    preferred[rng.random(preferred.shape) < 0.3] = np.nan
    found = score_pairs(
        Preferences(("a", "b"), tuple(map(str, range(20))), (1, 2, 3), preferred, 0), BootstrapSettings(samples=500)
    )
    for i, key in enumerate(QUESTIONS):
        one = found["preferences"][key]
        for name, value in (("wins", 1), ("ties", 0), ("losses", -1)):
            per_item = [[x == value for x in preferred[:, n, i] if not np.isnan(x)] for n in range(20)]
            expected = np.mean([np.mean(item) for item in per_item if item])
            assert one[name]["share"] == pytest.approx(expected) and one[name]["low"] <= expected <= one[name]["high"]
        assert one["wins"]["share"] + one["ties"]["share"] + one["losses"]["share"] == pytest.approx(1)
        assert one["difference"] == pytest.approx(one["wins"]["share"] - one["losses"]["share"])


def test_always_preferred_is_significant_and_always_a_tie_is_not():
    preferred = np.stack([np.ones((2, 12)), np.zeros((2, 12)), -np.ones((2, 12))], axis=-1)
    found = score_pairs(
        Preferences(("a", "b"), tuple(map(str, range(12))), (1, 2), preferred, 0), BootstrapSettings(samples=1000)
    )
    language, quality, coherence = (found["preferences"][key] for key in QUESTIONS)
    assert language["wins"] == {"share": 1, "low": 1, "high": 1} and language["p_holm"] < 0.01 > coherence["p_holm"]
    assert quality["ties"]["share"] == 1 and quality["p_value"] == 1 and coherence["difference"] == -1


def test_items_of_one_run_alone_and_without_any_answer_are_left_out(tmp_path):
    runs = [write_run(tmp_path / "a", 5, text="", drawn=(1,)), write_run(tmp_path / "b", 5, text="", drawn=(2,), first=1)]
    items, left_out = match_pair(read_pair(runs, []))
    assert [item.id for item in items] == ["item-1", "item-2"] and left_out == 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a"], "kind=pairs compares two systems, got 1"),
        (["a", "b", "a"], "kind=pairs compares two systems, got 3"),
        (["a", "nothing"], "nothing: is not a run folder"),
        (["a", "sub/a"], "2 systems are called 'a'"),
        (["a", "told"], "have different prompts"),
        (["a", "later"], "no item was answered by both"),
        (["a", "captions"], "holds no answers to the steps"),
    ],
)
def test_unfit_runs_are_refused(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, how in {"a": {}, "b": {}, "sub/a": {}, "told": {"told": "Stop."}, "later": {"first": 9}}.items():
        write_run(tmp_path / name, **how)
    (tmp_path / "captions").mkdir()
    (tmp_path / "captions" / "predictions.jsonl").write_text('{"id": "1", "caption": "A dog."}\n')
    with pytest.raises((MagicError, SettingsError), match=message) as caught:
        match_pair(read_pair(words, []))
    assert "\n" not in str(caught.value)
