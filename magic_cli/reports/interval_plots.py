"""Interval plots: a panel for each measure, a line for each system, and on it a mark with a confidence interval."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from magic_cli.errors import SettingsError
from magic_cli.reports.plots import draw, label

SOLID, HOLLOW = "solid", "hollow"
_PANELS_A_ROW = 4
_COLOURS = {SOLID: "tab:blue", HOLLOW: "tab:orange"}
_OFFSET = 0.14
"""Vertical distance of marks from their line when they share it."""


@dataclass(frozen=True)
class Mark:
    """One number."""

    row: str
    """The line of the mark."""
    value: float
    """The value as tables print it: multiplied by the measure's scale."""
    interval: tuple[float, float] | None = None
    """The interval on the same scale; None: there is none."""
    kind: str = SOLID
    """``SOLID`` or ``HOLLOW``."""


@dataclass(frozen=True)
class Panel:
    """One measure."""

    title: str
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class Legend:
    """The legend above all panels."""

    title: str
    kinds: Mapping[str, str]
    """The meaning of each kind of mark; empty: no legend."""
    zero: bool = False
    """Whether a vertical line marks the value 0."""
    apart: bool = False
    """Whether marks of different kinds are set apart on the same line."""


def plot_intervals(panels: Sequence[Panel], rows: Sequence[str], legend: Legend, name: Path) -> list[Path]:
    """Draw panels side by side; returns the files.

    Args:
        panels: The measures; panels without a mark are left out.
        rows: All lines, from the top.
        legend: The legend.
        name: As in ``plots.draw``.

    Raises:
        SettingsError: There is no number to draw.
    """
    panels = [panel for panel in panels if panel.marks]
    if not panels:
        raise SettingsError("--plot: there is no number to draw; see the table for the reason, or leave --plot out")
    columns = min(len(panels), _PANELS_A_ROW)
    lines = math.ceil(len(panels) / columns)
    width = 0.09 * max(len(label(row)) for row in rows) + 0.6 + 2.6 * columns
    height = (0.34 * len(rows) + 1.1) * lines + 0.7
    return draw(name, (max(width, 5.5), height), lambda figure: _paint(figure, panels, rows, legend))


def _paint(figure: Any, panels: Sequence[Panel], rows: Sequence[str], legend: Legend) -> None:
    columns = min(len(panels), _PANELS_A_ROW)
    grid = figure.subplots(math.ceil(len(panels) / columns), columns, squeeze=False, sharey=True)
    all_axes = grid.ravel().tolist()
    for unused in all_axes[len(panels) :]:
        unused.set_axis_off()
    shown: dict[str, Any] = {}
    for axes, panel in zip(all_axes, panels, strict=False):
        shown |= _paint_panel(axes, panel, rows, legend)
    # all panels share this axis; only the first column has labels
    all_axes[0].set_yticks(range(len(rows)), [label(row) for row in rows])
    all_axes[0].set_ylim(len(rows) - 0.5, -0.5)
    figure.suptitle(label(legend.title) if len(legend.title) > 150 else legend.title, fontsize="medium")
    told = [(mark, legend.kinds[kind]) for kind, mark in shown.items() if kind in legend.kinds]
    if told:
        figure.legend(*zip(*told, strict=True), loc="outside lower center", ncols=len(told), fontsize="small", frameon=False)


def _paint_panel(axes: Any, panel: Panel, rows: Sequence[str], legend: Legend) -> dict[str, Any]:
    """Draw a panel; returns one mark of each kind."""
    if legend.zero:
        axes.axvline(0, color="grey", linewidth=1)
    shown = {}
    for kind in (SOLID, HOLLOW):
        marks = [mark for mark in panel.marks if mark.kind == kind]
        if not marks:
            continue
        shift = 0 if not legend.apart else -_OFFSET if kind == SOLID else _OFFSET
        colour = _COLOURS[kind] if legend.apart else _COLOURS[SOLID]
        ends = [mark.interval or (mark.value, mark.value) for mark in marks]
        bars = [[max(0.0, m.value - low) for m, (low, _) in zip(marks, ends, strict=True)]]
        bars += [[max(0.0, high - m.value) for m, (_, high) in zip(marks, ends, strict=True)]]
        shown[kind] = axes.errorbar(
            [mark.value for mark in marks], [rows.index(mark.row) + shift for mark in marks], xerr=bars, fmt="o", markersize=5, capsize=4,
            color=colour, markerfacecolor=colour if kind == SOLID else "white", label=kind,
        )  # fmt: skip
    axes.set_title(label(panel.title), fontsize="medium")
    axes.grid(axis="x", alpha=0.3)
    axes.margins(x=0.12)
    axes.tick_params(axis="x", labelsize="small")
    axes.locator_params(axis="x", nbins=5)
    return shown


def evaluation_plot(documents: Sequence[Mapping[str, Any]], confidence: float, name: Path) -> list[Path]:
    """Every system's measures with their intervals; returns the files.

    Args:
        documents: Contents of metrics.json.
        confidence: Confidence of the intervals, in (0, 1).
        name: As in ``plots.draw``.
    """
    facts = {key: metric for document in documents for key, metric in document["metrics"].items()}
    panels = [
        Panel(
            metric["label"],
            tuple(
                scaled_mark(document["system"], document["metrics"][key]) for document in documents if _is_known(document, key)
            ),
        )
        for key, metric in facts.items()
    ]
    title = f"bars: {100 * confidence:g} % bootstrap intervals" if any(m["interval"] for m in facts.values()) else ""
    return plot_intervals(panels, _names(documents), Legend(title, {}), name)


def scaled_mark(row: str, metric: Mapping[str, Any]) -> Mark:
    """A measure of metrics.json as a mark, on the scale of the tables."""
    scale, ends = metric["scale"], metric["interval"]
    return Mark(row, metric["value"] * scale, (ends[0] * scale, ends[1] * scale) if ends else None)


def _is_known(document: Mapping[str, Any], key: str) -> bool:
    return document["metrics"].get(key, {}).get("value") is not None


def _names(documents: Sequence[Mapping[str, Any]]) -> list[str]:
    return [document["system"] for document in documents]


def comparison_plot(comparison: Mapping[str, Any], name: Path) -> list[Path]:
    """Differences from the first system with their intervals; returns the files.

    A mark is solid if the difference is significant after Holm's correction, else hollow.

    Args:
        comparison: Content of comparison.json.
        name: As in ``plots.draw``.
    """
    first, *others = comparison["systems"]
    level = 1 - comparison["confidence"]
    panels = [
        Panel(
            next(row["label"] for row in comparison["measures"] if row["measure"] == key),
            tuple(
                Mark(
                    row["second_system"], row["difference"] * row["scale"], (row["low"] * row["scale"], row["high"] * row["scale"]),
                    SOLID if row["p_holm"] < level else HOLLOW,
                )
                for row in comparison["measures"]
                if row["measure"] == key
            ),
        )
        for key in dict.fromkeys(row["measure"] for row in comparison["measures"])
    ]  # fmt: skip
    kinds = {SOLID: f"p < {level:.2g} (Holm)", HOLLOW: "not significant"}
    title = f"difference from {label(first)}, with {100 * comparison['confidence']:g} % intervals"
    return plot_intervals(panels, others, Legend(title, kinds, zero=True), name)
