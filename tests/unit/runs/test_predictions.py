"""predictions.jsonl as a mapping whose records stay on disk, and batches that are cut when they are asked for."""

import json
from types import SimpleNamespace

import pytest

from magic_cli.files import JsonList, write_document
from magic_cli.runs.batch_list import BatchList, Chosen, Ids
from magic_cli.runs.predictions import Predictions

RECORDS = [{"id": f"é{i}", "caption": "a dog " * i, "token_ids": list(range(i))} for i in range(50)]


@pytest.fixture
def predictions(tmp_path):
    found = Predictions(tmp_path / "predictions.jsonl")
    found.read()
    found.append(RECORDS[:20])
    found.append(RECORDS[20:])
    yield found
    found.close()


def content(predictions):
    return [json.loads(line) for line in predictions._file.read_text().splitlines()]


def test_records_are_read_where_they_stand_when_they_were_written_or_found(predictions, tmp_path):
    again = Predictions(tmp_path / "predictions.jsonl")
    again.read()
    for one in (predictions, again):
        assert list(one.values()) == RECORDS and one["é7"] == RECORDS[7] and len(one) == 50 and "é50" not in one
    again.close()


def test_file_is_written_anew_without_reordering_the_rest(predictions):
    predictions.replace({"é3": {"id": "é3", "caption": "longer than before"}})
    assert (
        content(predictions)
        == list(predictions.values())
        == [*RECORDS[:3], {"id": "é3", "caption": "longer than before"}, *RECORDS[4:]]
    )
    predictions.keep(predictions.without({"é3", "é10"}))
    predictions.append([RECORDS[3]])
    assert content(predictions) == list(predictions.values()) == [*RECORDS[:3], *RECORDS[4:10], *RECORDS[11:], RECORDS[3]]
    predictions.keep(sorted(predictions))
    assert [record["id"] for record in content(predictions)] == list(predictions) == sorted(predictions)


def test_write_that_fails_leaves_the_places_of_later_records_right(predictions, file_size_limit):
    size = predictions._file.stat().st_size
    with file_size_limit(size + 10), pytest.raises(OSError):
        predictions.append([{"id": "new", "caption": "x" * 100}])
    assert "new" not in predictions
    predictions.append([{"id": "later"}])
    assert predictions["later"] == {"id": "later"} and predictions["é49"] == RECORDS[49]


def test_batches_are_the_same_whenever_they_are_cut():
    items = [SimpleNamespace(id=str(i)) for i in range(10)]
    done = {"0", "1", "2", "3", "5", "8", "9"}
    batches = BatchList(items, 4, done)
    assert [(batch.number, len(batch.items), sorted(batch.done)) for batch in batches] == [
        (0, 4, ["0", "1", "2", "3"]),
        (1, 4, ["5"]),
        (2, 2, ["8", "9"]),
    ]
    assert [batch.number for batch in batches.open()] == [1] and batches[1:][0].number == 1 and batches.num_items == 10
    assert list(Ids(batches)) == [["0", "1", "2", "3"], ["4", "5", "6", "7"], ["8", "9"]]
    chosen = Chosen(items, done)
    assert (
        [item.id for item in chosen] == [item.id for item in chosen[:]] == sorted(done)
        and chosen[-1].id == "9"
        and len(chosen) == 7
    )


@pytest.mark.parametrize("entries", [[], [1], [{}], [{"a": ["x\ny", {"b": []}], "c": "é\ud83d"}, "text", [1, 2]]])
def test_list_that_is_written_entry_by_entry_is_the_json_of_the_whole(entries, tmp_path):
    write_document(tmp_path / "whole.json", entries)
    write_document(tmp_path / "parts.json", JsonList(lambda: entries))
    assert (tmp_path / "parts.json").read_bytes() == (tmp_path / "whole.json").read_bytes()
