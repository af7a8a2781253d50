"""Notes below the paper's tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from magic_cli.reports.comparison import Measured, Runs, counts, expected_cells, released_run
from magic_cli.reports.paper import Paper, PaperRow, PaperTable
from magic_cli.reports.speed import SPEED, devices, seconds_per_caption


def notes(paper: Paper, table: PaperTable, shown: Sequence[PaperRow], measured: Measured) -> Iterator[str]:
    """Signs of sources, known errors, and differences between the measured runs and the expected ones."""
    expected = [expected_cells(row, measured.get(row.id, ())) for row in shown]
    used = {cell.source.name for cells in expected for key, cell in cells.items() if key in table.measures}
    for source in paper.sources.values():
        if source.mark and source.name in used:
            yield f"{source.mark} {source.name}: {source.meaning}."
    for note in paper.notes:
        if any(row.id in note.rows for row in shown):
            yield note.text
    for row in shown:
        if runs := measured.get(row.id):
            name = f"{row.title} ({paper.sections[row.section]})"
            yield from (f"{name}: {text}" for text in _of_runs(paper, table, row, runs))
    if SPEED in table.measures:
        yield from _of_speed(paper, table, shown, measured)
    yield from _not_run(paper, table, shown, measured)


def _of_runs(paper: Paper, table: PaperTable, row: PaperRow, runs: Runs) -> Iterator[str]:
    if row.n is not None and counts(runs) not in ("", str(row.n)):
        yield f"measured on n = {counts(runs)}, the expected numbers are of n = {row.n}."
    left_out = {name: sum(run.get(name) or 0 for run in runs) for name in ("missing", "dropped", "empty")}
    if any(left_out.values()):
        yield f"captions {', '.join(f'{number} {name}' for name, number in left_out.items() if number)} (empty ones score 0)."
    if row.runs > 1:
        yield from _of_sampling(row, runs)
    last_ngram = {run.get("tools", {}).get("repetition", {}).get("last_ngram") for run in runs} - {None}
    if "rep_2" in table.measures and last_ngram - {row.id == "story/magic_every_ngram"}:
        yield f"measured with repetition.last_ngram={str(not last_ngram - {True}).lower()}, unlike the expected numbers."
    yield from dict.fromkeys(f"{note}." for run in runs for note in run.get("notes") or ())


def _of_sampling(row: PaperRow, runs: Runs) -> Iterator[str]:
    if (number := released_run(row, runs)) is not None:
        yield f"run {number} only, compared with the known numbers of the authors' run {number}."
    elif len(runs) != row.runs:
        yield f"{'one run' if len(runs) == 1 else f'mean of {len(runs)} runs'}, compared with a mean of {row.runs}."


def _of_speed(paper: Paper, table: PaperTable, shown: Sequence[PaperRow], measured: Measured) -> Iterator[str]:
    """The seconds behind the speeds, or why a speed is missing."""
    for section in table.sections:
        rows = {row.title: measured[row.id] for row in shown if row.section == section and row.id in measured}
        seconds = {title: found for title, runs in rows.items() if (found := seconds_per_caption(runs)) is not None}
        if not seconds:
            continue
        listed = ", ".join(f"{title} {found:.3g} ({'; '.join(devices(rows[title]))})" for title, found in seconds.items())
        yield f"seconds per caption ({paper.sections[section]}): {listed}. A speed is given where ZeroCap ran on the same device."


def _not_run(paper: Paper, table: PaperTable, shown: Sequence[PaperRow], measured: Measured) -> Iterator[str]:
    """Why numbers of this table are missing: one note per reason, for all its rows."""
    metrics = {paper.measures[key].metric for key in table.measures}
    rows: dict[tuple[str, str], list[str]] = {}
    for row in shown:
        for run in measured.get(row.id, ()):
            for metric, reason in run.get("not_run", {}).items():
                if metric in metrics:
                    rows.setdefault((metric, reason), []).append(row.id)
    for (metric, reason), ids in rows.items():
        yield f"{metric} not run for {', '.join(dict.fromkeys(ids))}: {reason}"
