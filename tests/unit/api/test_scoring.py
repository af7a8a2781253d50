"""Scores from Python are the numbers of ``magic evaluate``, and differences those of its ``--compare``."""

import json

import pytest

import magic_cli
from magic_cli.cli.main import main
from magic_cli.data.bundled_coco import load_bundled_coco_captions
from tests.unit.api.conftest import SETTINGS

FAST = {"bootstrap.samples": 100}
METRICS = ["bleu", "rouge_l", "cider"]


@pytest.fixture(scope="module")
def coco():
    """20 images of COCO: two captions play the predictions, the others are the references."""
    captions = load_bundled_coco_captions()
    ids = sorted(captions)[:20]
    return [{str(i): captions[i][number] for i in ids} for number in (0, 1)], {str(i): captions[i][2:] for i in ids}


@pytest.fixture
def files(coco, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, document in (("a", coco[0][0]), ("b", coco[0][1]), ("refs", coco[1])):
        (tmp_path / f"{name}.json").write_text(json.dumps(document))


def command(capsys, *words):
    assert main(["evaluate", *words, "--metrics", ",".join(METRICS), "bootstrap.samples=100", "--format", "json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_scores_and_differences_are_those_of_the_command(coco, files, tmp_path, capsys):
    (first, second), references = coco
    told = command(capsys, "a.json", "b.json", "--references", "refs.json", "--compare")
    [wanted, other] = told["systems"]
    options = {"metrics": METRICS, "settings": FAST}
    left = {path.name for path in tmp_path.iterdir()}
    by_hand = magic_cli.score(first, references, **options)
    from_file = magic_cli.score("a.json", "refs.json", **options)
    in_order = magic_cli.score(list(first.values()), list(references.values()), **options)
    for scores in (by_hand, from_file, in_order):
        assert scores.values == {key: one["value"] for key, one in wanted["metrics"].items()} and scores.n == 20
        assert {key: list(one) for key, one in scores.intervals.items()} == {
            key: one["interval"] for key, one in wanted["metrics"].items() if one["interval"]
        }
    assert by_hand["cider"] == by_hand.values["cider"] and 0 < by_hand["cider"] < 10
    assert list(by_hand.per_item) == list(first) and by_hand.per_item[next(iter(first))]["caption"] == next(iter(first.values()))
    assert f"{100 * by_hand['bleu_4']:.2f}" in str(by_hand) and "predictions" in str(by_hand)

    together = magic_cli.compare("a.json", "b.json", references="refs.json", **options)
    later = magic_cli.compare(from_file, magic_cli.score(second, references, **options))
    for found in (together, later):
        assert found.document["measures"] == [
            {**row, "first_system": found.systems[0], "second_system": found.systems[1]} for row in told["comparison"]["measures"]
        ]
        assert [one.difference for one in found.differences] == [row["difference"] for row in told["comparison"]["measures"]]
    assert together.systems == ("a", "b") and together.scores[1].values == {
        k: one["value"] for k, one in other["metrics"].items()
    }
    assert "b minus a" in str(together) and together.differences[0].measure == "bleu_1"
    assert {path.name for path in tmp_path.iterdir()} == left, "nothing is written"


def test_captions_of_a_captioner_are_scored(captioner, tiny_photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    captions = captioner.caption(tiny_photos, **SETTINGS)
    scores = magic_cli.score([*captions, magic_cli.Caption("lost.jpg", None, error="x")], metrics="repetition", settings=FAST)
    assert scores.n == len(captions) and set(scores.per_item) == {one.id for one in captions}
    story = captioner.story("A day", next(tiny_photos.iterdir()), decoding_len=30, k=5, alpha=0.3)
    with pytest.warns(UserWarning, match="these are stories, scored by"), pytest.warns(UserWarning, match="not run"):
        assert "rep_2" in magic_cli.score([story], settings=FAST).values


@pytest.mark.parametrize(
    ("ask", "answer"),
    [
        (lambda: magic_cli.score({"a": "x"}, metrics="cidr"), "unknown metric 'cidr'; did you mean cider"),
        (lambda: magic_cli.score({"a": "x"}, metrics="bleu"), "predictions: has no references"),
        (lambda: magic_cli.score({"a": "x"}, {"b": ["y"]}, metrics="bleu"), "predictions"),
        (lambda: magic_cli.score(["x", "y"], [["y"]], metrics="bleu"), "references: there must be some for each of the 2 predictions, got 1"),
        (lambda: magic_cli.score("none.json", metrics="bleu"), "systems=none.json: no such file"),
        (lambda: magic_cli.score(3), "predictions: give a file, a dict of texts, or a list of them, got int"),
        (lambda: magic_cli.score([3]), "predictions: must be texts, records or captions, got int"),
        (lambda: magic_cli.score(["x"], 3, metrics="bleu"), "references: give a file, a dict of texts, or lists of them, got int"),
        (lambda: magic_cli.score(["x"], [None], metrics="bleu"), "references: those of '0' must be a text or a list of texts, got NoneType"),
        (lambda: magic_cli.score(["x"], metrics=3), "metrics must be names such as 'bleu' or ['bleu', 'cider'], got 3"),
        (lambda: magic_cli.score({}), "predictions: holds no captions"),
        (lambda: magic_cli.score({"a": 3}), "predictions record 1"),
        (lambda: magic_cli.score({"a": "x"}, settings={"output": "o"}), "output: belongs to the command line"),
        (lambda: magic_cli.compare({"a": "x"}), "compare: give two systems or more"),
        (lambda: magic_cli.compare({"a": "x", "b": "y"}, {"a": "x", "c": "y"}, metrics="repetition"), "are not captions of the same images"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(ask, answer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(magic_cli.MagicError) as caught:
        ask()
    assert answer in str(caught.value) and "\n" not in str(caught.value)
