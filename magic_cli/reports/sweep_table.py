"""The table of a sweep: one line per point, the best point with its confidence interval, and the reasons for missing values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from magic_cli.reports.sweep import Point, Sweep
from magic_cli.reports.tables import Cell, Column, Row, Table
from magic_cli.terminal.wording import counted

_BEST = "*"


def sweep_table(sweep: Sweep) -> Table:
    """All points, sorted by their settings; only settings that vary have a column."""
    has_deviation = any(point.deviation is not None for point in sweep.points)
    columns = [Column(sweep.short(name), is_label=True) for name in sweep.names] or [Column("run", is_label=True)]
    columns += [Column(sweep.facts["label"]), Column(f"{_percent(sweep)} interval" if sweep.confidence else "interval")]
    columns += [Column("std. dev."), Column("runs")] if has_deviation else []
    columns.append(Column("n"))
    return Table(
        title=f"{sweep.facts['label']} of {counted(len(sweep.points), 'point')}",
        columns=tuple(columns),
        rows=tuple(_row(sweep, point, has_deviation) for point in sweep.points),
        notes=tuple(_notes(sweep)),
        records=tuple(_record(sweep, point) for point in sweep.points),
    )


def _row(sweep: Sweep, point: Point, has_deviation: bool) -> Row:
    cells = [Cell(shown(point.settings[name])) for name in sweep.names] or [Cell(point.runs[0].folder.name)]
    if point.value is None:
        cells.append(Cell())
    else:
        cells.append(Cell(sweep.printed(point.value), _BEST if point is sweep.best else ""))
    cells.append(Cell(_interval(sweep, point)))
    if has_deviation:
        cells += [Cell("" if point.deviation is None else sweep.printed(point.deviation)), Cell(str(len(point.runs)))]
    cells.append(Cell("/".join(map(str, point.counts))))
    return Row(tuple(cells))


def shown(value: Any) -> str:
    """A setting's value as the user types it."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def describe(sweep: Sweep, point: Point) -> str:
    """``alpha 0.1, beta 2.0``."""
    return ", ".join(f"{sweep.short(name)} {shown(point.settings[name])}" for name in sweep.names) or str(point.runs[0].folder)


def _interval(sweep: Sweep, point: Point) -> str:
    return "" if point.interval is None else f"{sweep.printed(point.interval[0])} to {sweep.printed(point.interval[1])}"


def _percent(sweep: Sweep) -> str:
    return "" if sweep.confidence is None else f"{100 * sweep.confidence:g} %"


def _notes(sweep: Sweep) -> Iterator[str]:
    best = sweep.best
    if best is not None and best.value is not None:
        direction = "higher" if sweep.facts["higher_is_better"] else "lower"
        yield f"{_BEST} best ({direction} is better): {_best(sweep, best, best.value)}"
    if sweep.facts["higher_is_better"] is None:
        yield f"No point is marked as the best: neither a higher nor a lower {sweep.facts['label']} is better."
    counts = list(dict.fromkeys(n for point in sweep.points for n in point.counts))
    if len(counts) > 1:
        yield f"Not all points were scored on as many captions (n = {', '.join(map(str, counts))}): compare them with care."
    for point in sweep.points:
        for run in point.runs:
            if run.problem:
                yield f"No value for {describe(sweep, point)}: {run.folder} {run.problem}."


def _best(sweep: Sweep, best: Point, value: float) -> str:
    text = f"{describe(sweep, best)} with {sweep.facts['label']} {sweep.printed(value)}"
    if best.interval is not None:
        low, high = best.interval
        others = [point.value for point in sweep.points if point is not best and point.value is not None]
        inside = sum(low <= other <= high for other in others)
        text += f", {_percent(sweep)} bootstrap interval {_interval(sweep, best)}; {inside} of the {len(others)} other values lie within it"
    elif best.deviation is not None:
        text += f", mean of {len(best.runs)} runs with standard deviation {sweep.printed(best.deviation)}"
    else:
        text += "; without interval, since it was evaluated with bootstrap.samples=0"
    return f"{text}; {', '.join(str(run.folder) for run in best.runs)}."


def _record(sweep: Sweep, point: Point) -> dict[str, Any]:
    """The record for CSV and JSON; values in the measure's own range."""
    low, high = point.interval or (None, None)
    return {
        **{name: point.settings[name] for name in sweep.names},
        "measure": sweep.metric,
        "value": point.value,
        "low": low,
        "high": high,
        "deviation": point.deviation,
        "runs": len(point.runs),
        "n": "/".join(map(str, point.counts)) or None,
        "best": point is sweep.best,
        "problem": "; ".join(dict.fromkeys(run.problem for run in point.runs if run.problem)) or None,
        "folder": " ".join(str(run.folder) for run in point.runs),
    }
