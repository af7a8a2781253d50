"""Tables are printed so that people and programs read back what was put in."""

import csv
import io
import json
import re
from decimal import Decimal

import pytest

from magic_cli.errors import SettingsError
from magic_cli.reports.tables import FORMATS, TERMINAL_WIDTH, Cell, Column, Row, Table, render

ODD = 'a|b & c_d 50% $x$ #1 {y} ~z^2 \\ <t> [u] "q"'


def table(names=("magic", "zerocap"), num_columns=2, **options):
    columns = (Column("system", is_label=True), *(Column(f"m{i}") for i in range(num_columns)))
    rows = tuple(Row((Cell(name), *(Cell(f"{i}.5") for i in range(num_columns)))) for name in names)
    return Table("Title", columns, rows, **options)


def test_terminal_aligns_numbers_when_marks_and_wide_letters_are_there():
    rows = (Row((Cell("图像"), Cell("3.25", "*"))), Row((Cell("magic"), Cell("13.5"))))
    lines = render([Table("", (Column("system", is_label=True), Column("B@1")), rows)], "terminal").splitlines()
    assert lines == ["system   B@1", "-------------", "图像    3.25*", "magic   13.5"]


def test_terminal_cuts_wide_tables_into_blocks_that_repeat_the_labels():
    lines = render([table(num_columns=40)], "terminal").splitlines()
    assert max(map(len, lines)) <= TERMINAL_WIDTH
    assert sum(line.startswith("magic ") for line in lines) == sum(line.startswith("system ") for line in lines) == 3
    assert re.findall(r"m\d+", "\n".join(lines)) == [f"m{i}" for i in range(40)]


def test_terminal_prints_a_section_once_and_wraps_notes():
    rows = tuple(Row((Cell(name), Cell("1")), section="COCO") for name in "ab")
    text = render([Table("", (Column("", is_label=True), Column("n")), rows, notes=("word " * 60,))], "terminal")
    assert text.count("COCO") == 1
    assert max(map(len, text.splitlines())) <= TERMINAL_WIDTH


@pytest.mark.parametrize("table_format", ["terminal", "markdown", "latex"])
def test_names_cannot_break_lines_or_steer_the_terminal(table_format):
    text = render([table(names=["a\nb\r\x1b[31mc"])], table_format)
    assert "\x1b" not in text and "\r" not in text
    assert len(text.splitlines()) == len(render([table(names=["a"])], table_format).splitlines())


def test_markdown_keeps_columns_when_names_hold_pipes():
    text = render([table(names=[ODD])], "markdown")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    cells = [re.split(r"(?<!\\)\|", row)[1:-1] for row in rows]
    assert {len(row) for row in cells} == {3}
    assert re.sub(r"\\(.)", r"\1", cells[2][0].strip()) == ODD


def test_latex_escapes_all_special_characters():
    text = render([table(names=[ODD], notes=(ODD,))], "latex")
    for line in text.splitlines()[1:]:
        bare = re.sub(r"\\[a-zA-Z]+\{\}|\\[%&$#_{}]|\\\\$", "", line)
        if not bare.startswith("\\"):
            assert not set(bare.replace(" & ", "")) & set("%$#_~^<>|&\\"), line
    assert r"a\textbar{}b \& c\_d 50\% \$x\$ \#1 \{y\} \textasciitilde{}z\textasciicircum{}2 \textbackslash{}" in text


def test_latex_line_end_does_not_swallow_the_next_cell():
    assert "\n{[x]} &" in render([table(names=["[x]"])], "latex")
    assert "\n{*} &" in render([table(names=["*"])], "latex")


def test_csv_reads_back_all_tables_below_one_header():
    records = ({"system": 'comma, "quote"\nline', "value": Decimal("1.50"), "low": None},)
    text = render([table(records=records), table(records=({"system": "b", "value": 2, "low": 1},))], "csv")
    assert list(csv.DictReader(io.StringIO(text))) == [
        {"system": 'comma, "quote"\nline', "value": "1.50", "low": ""},
        {"system": "b", "value": "2", "low": "1"},
    ]


def test_json_holds_numbers_and_notes():
    [document] = json.loads(render([table(records=({"value": Decimal("1.50")},), notes=("n",))], "json"))
    assert document == {"title": "Title", "records": [{"value": 1.5}], "notes": ["n"]}


def test_cells_are_the_records_when_none_are_given():
    assert list(csv.DictReader(io.StringIO(render([table()], "csv"))))[0] == {"system": "magic", "m0": "0.5", "m1": "1.5"}


@pytest.mark.parametrize("table_format", FORMATS)
def test_every_format_prints_a_table_without_title_notes_or_rows(table_format):
    assert render([Table("", (Column("a", is_label=True), Column("b")), ())], table_format).endswith("\n")


def test_unknown_format_is_named():
    with pytest.raises(SettingsError, match="unknown format='latx'; did you mean latex"):
        render([], "latx")


def test_row_with_too_few_cells_is_refused():
    with pytest.raises(ValueError, match="1 cells, the table 2"):
        Table("t", (Column("a"), Column("b")), (Row((Cell("x"),)),))


def test_csv_holds_no_cell_that_a_spreadsheet_would_run():
    names = [
        "=HYPERLINK(1)",
        "+1+cmd|' /C calc'!A0",
        "-2+3+cmd",
        "@SUM(A1)",
        "\t=1",
        " =1",
        "a=b",
        "-0.5 ± 0.1",
        "-",
        "+3.1 %",
        "",
    ]
    text = render([table(records=tuple({"system": name, "=key": -1.5} for name in names))], "csv")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["system"] for row in rows] == [f"'{name}" for name in names[:6]] + names[6:]
    assert all(row["'=key"] == "-1.5" for row in rows)
