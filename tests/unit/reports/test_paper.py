"""paper.yaml holds together; tests/shared compares its numbers with their source."""

import re

import pytest

from magic_cli.errors import SettingsError
from magic_cli.reports.paper import load_paper

PAPER = load_paper()


def test_digits_are_kept_as_written():
    assert PAPER.row("flickr30k/contrastive").cells["bleu_4"].text == "11.90"
    assert (PAPER.row("coco/zerocap").cells["bleu_4"].text, PAPER.row("coco/zerocap").cells["bleu_4"].digits) == ("7.0", 1)


def test_paper_prints_one_decimal_and_rescored_numbers_have_two_or_more():
    for row in PAPER.rows.values():
        for measure, cell in row.cells.items():
            if cell.source.name == "rescored":
                assert cell.digits == (4 if measure == "diversity" else 2), (row.id, measure)
            elif cell.number is not None:
                assert cell.digits == 1, (row.id, measure)


def test_cells_known_both_ways_are_the_28_of_the_paper():
    printed = [
        cell
        for row in PAPER.rows.values()
        for cell in row.cells.values()
        if cell.source.name == "paper" and cell.number is not None
    ]
    assert len(printed) == 28


def test_everything_that_is_named_exists():
    assert {section for table in PAPER.tables.values() for section in table.sections} == set(PAPER.sections)
    assert {row.section for row in PAPER.rows.values()} == set(PAPER.sections)
    assert {key for table in PAPER.tables.values() for key in table.measures} <= set(PAPER.measures)
    for row in PAPER.rows.values():
        assert row.cells.keys() <= PAPER.measures.keys()
        assert all(run.keys() <= row.cells.keys() for run in row.released_runs)
        assert len(row.released_runs) in (0, row.runs)
    for note in PAPER.notes:
        assert set(note.rows) <= set(PAPER.rows) and note.text


def test_no_number_is_there_twice_from_two_sources():
    from importlib.resources import files

    import yaml

    document = yaml.safe_load(files("magic_cli.reports").joinpath("paper.yaml").read_text(encoding="utf-8"))
    for row_id, facts in document["rows"].items():
        measures = [key for source in document["sources"] for key in facts.get(source, {})]
        assert len(measures) == len(set(measures)) == len(PAPER.rows[row_id].cells), row_id


def test_only_numbers_and_the_one_known_phrase_are_cells():
    texts = {cell.text for row in PAPER.rows.values() for cell in row.cells.values()}
    assert {text for text in texts if not re.fullmatch(r"\d+\.\d+", text)} == {"nearly 27"}


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ([], "which table.*; or one of vist, .*, sweep"),
        (["4"], "unknown table '4'; allowed: 1, 2, 3, all, vist, mmdialog, cc3m, sweep"),
        (["1", "al"], "did you mean all"),
    ],
)
def test_unknown_tables_are_refused(numbers, message):
    with pytest.raises(SettingsError, match=message):
        PAPER.chosen(numbers)


def test_unknown_row_is_refused_with_the_nearest():
    with pytest.raises(SettingsError, match="did you mean coco/magic"):
        PAPER.row("coco/magik")


def test_tables_come_once_and_in_order():
    assert [table.number for table in PAPER.chosen(["3", "1", "1"])] == ["1", "3"]
    assert [table.number for table in PAPER.chosen(["all"])] == ["1", "2", "3"]
