"""Plots of the paper's tables: measured numbers with their intervals beside the expected ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from magic_cli.reports.comparison import Comparison, Measured, Runs, compare, values
from magic_cli.reports.interval_plots import HOLLOW, Legend, Mark, Panel, plot_intervals
from magic_cli.reports.paper import Paper, PaperRow, PaperTable

_KINDS = {"solid": "measured", "hollow": "expected"}


def plot_tables(paper: Paper, numbers: Sequence[str], measured: Measured, name: Path) -> list[Path]:
    """One figure per table; if there are several, the table's number is added to the file name.

    Bars are bootstrap intervals if the runs were evaluated with them, else standard deviations over runs of a sampled method.
    Rows without any number are left out.

    Args:
        paper: The paper.
        numbers: As in ``paper_tables.build_tables``.
        measured: As in ``paper_tables.build_tables``.
        name: As in ``plots.draw``.

    Returns:
        The files.
    """
    tables = paper.chosen(numbers)
    files = []
    for table in tables:
        place = name if len(tables) == 1 else name.with_name(f"{name.name}_{table.number}")
        files += _plot(paper, table, measured, place)
    return files


def _plot(paper: Paper, table: PaperTable, measured: Measured, name: Path) -> list[Path]:
    in_table = [row for row in paper.rows.values() if row.section in table.sections and (row.cells or measured.get(row.id))]
    in_table.sort(key=lambda row: table.sections.index(row.section))
    rows = {row.id: _title(paper, table, row) for row in in_table}
    cells = {(row.id, key): compare(paper, row, measured, key) for row in in_table for key in table.measures}
    panels = [
        Panel(
            paper.measures[key].label,
            tuple(mark for row in in_table for mark in _marks(rows[row.id], cells[row.id, key], measured.get(row.id, ()))),
        )
        for key in table.measures
    ]
    drawn = {mark.row for panel in panels for mark in panel.marks}
    legend = Legend(table.title, _KINDS, apart=True)
    return plot_intervals(panels, [title for title in rows.values() if title in drawn], legend, name)


def _title(paper: Paper, table: PaperTable, row: PaperRow) -> str:
    """The row's name; if the table has several sections, followed by the first words of the section."""
    return f"{paper.sections[row.section].partition(',')[0]}: {row.title}" if len(table.sections) > 1 else row.title


def _marks(row: str, cell: Comparison, runs: Runs) -> list[Mark]:
    marks = []
    if cell.measured is not None:
        marks.append(Mark(row, float(cell.measured), _interval(cell, runs)))
    if cell.expected is not None and cell.expected.number is not None:
        marks.append(Mark(row, float(cell.expected.number), kind=HOLLOW))
    return marks


def _interval(cell: Comparison, runs: Runs) -> tuple[float, float] | None:
    """The bootstrap interval of a single run; for several runs, one standard deviation on both sides of their mean."""
    if cell.deviation is not None and cell.measured is not None:
        middle, deviation = float(cell.measured), float(cell.deviation)
        return middle - deviation, middle + deviation
    key, scale = cell.measure.key, cell.measure.scale
    ends = runs[0]["metrics"][key].get("interval") if len(runs) == 1 and values(runs, key) else None
    return (float(ends[0]) * float(scale), float(ends[1]) * float(scale)) if ends else None
