"""Released story files: read whole, counted by the released rule."""

import gzip
import json

import pytest

from magic_cli.errors import MagicError
from magic_cli.evaluation.stories import measure_stories, read_stories


def record(written, human="we went home . we went home"):
    return {"prefix_text": "Home <|endoftext|>", "reference_continuation_text": human,
            "generated_result": {"0": {"generated_continuation_text": written}, "1": {"generated_continuation_text": "other image"}}}  # fmt: skip


def write(path, document):
    path.write_bytes(gzip.compress(json.dumps(document).encode()) if path.suffix == ".gz" else json.dumps(document).encode())
    return path


def test_rows_of_a_magic_file_are_both_rules_and_the_humans(tmp_path):
    # bigrams ab bc ca ab | ax xb: by the released rule ab bc ca | ax
    file = write(tmp_path / "m.json.gz", {"evaluation_result": [record("a b c a b"), record("a x b")]})
    measured = measure_stories({file: "story/magic"})
    assert set(measured) == {"story/magic", "story/magic_every_ngram", "story/human"}
    [released], [every] = measured["story/magic"], measured["story/magic_every_ngram"]
    assert (released["n"], released["missing"], released["empty"]) == (2, 0, 0)
    assert released["metrics"]["rep_2"]["value"] == 0
    assert every["metrics"]["rep_2"]["value"] == pytest.approx(1 / 6)
    assert released["tools"]["repetition"]["last_ngram"] is False and every["tools"]["repetition"]["last_ngram"] is True
    # we went, went home, home ., . we, we went (went home left out) twice
    assert measured["story/human"][0]["metrics"]["rep_2"]["value"] == pytest.approx(1 / 5)


def test_humans_stories_are_counted_once_when_several_files_hold_them(tmp_path):
    files = [write(tmp_path / name, {"evaluation_result": [record("a b c")]}) for name in ("a.json", "b.json")]
    measured = measure_stories(dict(zip(files, ("story/contrastive", "story/magic"), strict=True)))
    assert len(measured["story/human"]) == 1 and len(measured) == 4


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "no evaluation_result"),
        ({"evaluation_result": []}, "no evaluation_result"),
        ({"evaluation_result": [record("a"), {"generated_result": {}}]}, r"s.json record 2: not as expected \(no '0'\)"),
        ({"evaluation_result": [record(None)]}, "s.json record 1: a story must be a text"),
    ],
)
def test_other_files_are_refused_with_the_record(tmp_path, document, message):
    with pytest.raises(MagicError, match=message):
        read_stories(write(tmp_path / "s.json", document))
