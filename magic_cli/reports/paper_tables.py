"""Builds the paper's tables: each cell shows the measured number, the expected one, and their difference at its precision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from magic_cli.reports.comparison import Comparison, Measured, Runs, check_rows, compare, counts
from magic_cli.reports.paper import Paper, PaperRow, PaperTable, load_paper
from magic_cli.reports.paper_notes import notes
from magic_cli.reports.tables import Cell, Column, Row, Table

_MEASURED, _DEVIATION, _EXPECTED, _DIFFERENCE = "measured", "std. dev.", "expected", "diff."


def build_tables(numbers: Sequence[str], measured: Measured, paper: Paper | None = None) -> list[Table]:
    """The tables of a paper; unknown cells stay blank.

    Args:
        numbers: ``1``, ``2``, ``3`` or ``all``; for another paper, names of its tables.
        measured: The metrics.json documents by row id; several for one row are runs of a sampled method, and are averaged.
        paper: The paper; None: MAGIC's.

    Raises:
        SettingsError: A table or row is unknown.
        MagicError: A run appears twice, or a method without sampling has several systems.
    """
    paper = paper or load_paper()
    check_rows(paper, measured)
    return [_build(paper, table, measured) for table in paper.chosen(numbers)]


def _build(paper: Paper, table: PaperTable, measured: Measured) -> Table:
    shown = [
        row
        for row in paper.rows.values()
        if row.section in table.sections and (row.cells or row.is_listed or measured.get(row.id))
    ]
    lines: list[Row] = []
    records: list[dict[str, Any]] = []
    was_measured = False
    for row in sorted(shown, key=lambda row: table.sections.index(row.section)):
        runs = measured.get(row.id, ())
        cells = [compare(paper, row, measured, key) for key in table.measures]
        lines += _lines(paper, row, runs, cells, opens_group=bool(runs) or was_measured)
        was_measured = bool(runs)
        records += [_record(table, row, runs, cell) for cell in cells]
    labels = (Column("method", is_label=True), Column("", is_label=True), Column("n", is_label=True))
    return Table(
        title=table.title,
        columns=(*labels, *(Column(paper.measures[key].label) for key in table.measures)),
        rows=tuple(lines),
        notes=tuple(notes(paper, table, shown, measured)),
        records=tuple(records),
        number=table.number,
    )


def _lines(paper: Paper, row: PaperRow, runs: Runs, cells: Sequence[Comparison], *, opens_group: bool) -> list[Row]:
    """One line; or three if the row is measured, and a fourth for the deviation over several runs."""
    n = {
        _MEASURED: counts(runs),
        _DEVIATION: f"{len(runs)} runs",
        _EXPECTED: "" if row.n is None else str(row.n),
        _DIFFERENCE: "",
    }
    kinds = (_MEASURED, *([_DEVIATION] if len(runs) > 1 else []), _EXPECTED, _DIFFERENCE) if runs else (_EXPECTED,)
    section = paper.sections[row.section]
    return [
        Row((Cell(row.title if kind == kinds[0] else ""), Cell(kind), Cell(n[kind]), *(_cell(cell, kind) for cell in cells)),
            section, opens_group=opens_group and kind == kinds[0])
        for kind in kinds
    ]  # fmt: skip


def _cell(cell: Comparison, kind: str) -> Cell:
    if kind == _EXPECTED:
        return Cell() if cell.expected is None else Cell(cell.expected.text + cell.measure.suffix, cell.expected.source.mark)
    if kind == _MEASURED:
        return Cell() if cell.measured is None else Cell(f"{cell.measured}{cell.measure.suffix}")
    if kind == _DEVIATION:
        return Cell() if cell.deviation is None else Cell(str(cell.deviation))
    return Cell() if cell.difference is None else Cell(f"{cell.difference:+}" if cell.difference else f"{abs(cell.difference)}")


def _record(table: PaperTable, row: PaperRow, runs: Runs, cell: Comparison) -> dict[str, Any]:
    expected, n = cell.expected, counts(runs)
    return {
        "table": table.number,
        "dataset": row.section,
        "row": row.method,
        "measure": cell.measure.key,
        "measured": cell.measured,
        "deviation": cell.deviation,
        "runs": len(runs),
        "expected": None if expected is None else expected.text if expected.number is None else expected.number,
        "source": None if expected is None else expected.source.name,
        "difference": cell.difference,
        "n": int(n) if n.isdigit() else n or None,
    }
