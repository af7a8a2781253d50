"""Plots of a sweep: a heat map over two settings, and lines over each setting."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

from magic_cli.errors import SettingsError
from magic_cli.reports.plots import draw
from magic_cli.reports.sweep import Point, Sweep
from magic_cli.reports.sweep_table import describe, shown

_PANELS_A_ROW = 4
_MOST_LINES_WITH_BARS = 3


def check_sweep(sweep: Sweep) -> None:
    """Refuse a sweep that cannot be drawn.

    Raises:
        SettingsError: Nothing varies, or no point has a value.
    """
    if all(point.value is None for point in sweep.points):
        raise SettingsError(
            f"--plot: no point has a value of {sweep.metric} of all its runs; finish and evaluate them, or leave --plot out to see which"
        )
    if not sweep.names:
        raise SettingsError("--plot: all runs have the same settings, so there is nothing to draw; name the runs of a sweep")


def plot_sweep(sweep: Sweep, name: Path) -> list[Path]:
    """Draw ``NAME_lines`` and, if two settings vary, ``NAME_heat_map``; returns the files.

    Args:
        sweep: A sweep that ``check_sweep`` accepts.
        name: As in ``plots.draw``.
    """
    files = _heat_map(sweep, name.with_name(f"{name.name}_heat_map")) if len(sweep.names) > 1 else []
    return files + _lines(sweep, name.with_name(f"{name.name}_lines"))


def choices(sweep: Sweep, name: str) -> list[Any]:
    """The values of a setting, in the order of the points."""
    found = {json.dumps(point.settings[name]): point.settings[name] for point in sweep.points}
    values = list(found.values())
    return sorted(values) if all(_is_number(value) for value in values) else values


def grid(sweep: Sweep, rows: str, columns: str, rest: dict[str, Any]) -> list[list[float]]:
    """Printed values for every pair of two settings, with the other settings equal to ``rest``; NaN where there is none."""
    found: dict[tuple[str, str], float] = {}
    for point in sweep.points:
        if point.value is not None and all(point.settings[name] == value for name, value in rest.items()):
            found[json.dumps(point.settings[rows]), json.dumps(point.settings[columns])] = point.value * sweep.facts["scale"]
    return [
        [found.get((json.dumps(row), json.dumps(column)), math.nan) for column in choices(sweep, columns)]
        for row in choices(sweep, rows)
    ]


def panels(sweep: Sweep, names: list[str]) -> list[dict[str, Any]]:
    """Every combination of values of these settings that occurs in the sweep."""
    occurring = [{name: point.settings[name] for name in names} for point in sweep.points]
    every = (dict(zip(names, values, strict=True)) for values in itertools.product(*(choices(sweep, name) for name in names)))
    return [combination for combination in every if combination in occurring]


def _size(count: int, width: float, height: float) -> tuple[float, float]:
    """Width and height in inches of a figure with so many panels of this size."""
    columns = min(count, _PANELS_A_ROW)
    return width * columns + 0.8, height * math.ceil(count / columns)


def _panel_axes(figure: Any, count: int) -> list[Any]:
    columns = min(count, _PANELS_A_ROW)
    axes = figure.subplots(math.ceil(count / columns), columns, squeeze=False).ravel().tolist()
    for unused in axes[count:]:
        unused.set_axis_off()
    return axes[:count]


def _heat_map(sweep: Sweep, name: Path) -> list[Path]:
    """The map spans the two settings with the most values; the others give panels side by side, with the same colour scale."""
    by_size = sorted(sweep.names, key=lambda name: -len(choices(sweep, name)))
    rows, columns = sorted(by_size[:2], key=sweep.names.index)
    combinations = panels(sweep, [name for name in sweep.names if name not in (rows, columns)])
    size = _size(len(combinations), 1.6 + 0.8 * len(choices(sweep, columns)), 1.6 + 0.55 * len(choices(sweep, rows)))
    return draw(name, size, lambda figure: _paint_maps(figure, sweep, (rows, columns), combinations))


def _paint_maps(figure: Any, sweep: Sweep, names: tuple[str, str], combinations: list[dict[str, Any]]) -> None:
    maps = [grid(sweep, *names, rest) for rest in combinations]
    known = [value for values in maps for line in values for value in line if not math.isnan(value)]
    all_axes = _panel_axes(figure, len(maps))
    colours = "viridis_r" if sweep.facts["higher_is_better"] is False else "viridis"  # bright is better
    for axes, rest, values in zip(all_axes, combinations, maps, strict=True):
        image = axes.imshow(values, cmap=colours, vmin=min(known), vmax=max(known), aspect="auto")
        _label_map(axes, sweep, names, values, (min(known) + max(known)) / 2)
        axes.set_title(", ".join(f"{sweep.short(name)} {shown(value)}" for name, value in rest.items()))
        if sweep.best is not None and all(sweep.best.settings[name] == value for name, value in rest.items()):
            _frame(axes, sweep, sweep.best, names)
    figure.colorbar(image, ax=all_axes, label=sweep.facts["label"])


def _label_map(axes: Any, sweep: Sweep, names: tuple[str, str], values: list[list[float]], middle: float) -> None:
    rows, columns = names
    axes.set_yticks(range(len(values)), [shown(value) for value in choices(sweep, rows)])
    axes.set_xticks(range(len(values[0])), [shown(value) for value in choices(sweep, columns)])
    axes.set_ylabel(sweep.short(rows))
    axes.set_xlabel(sweep.short(columns))
    for i, line in enumerate(values):
        for j, value in enumerate(line):
            bright = value < middle if sweep.facts["higher_is_better"] is False else value > middle
            text = "-" if math.isnan(value) else f"{value:.{sweep.facts['digits']}f}"
            axes.text(j, i, text, ha="center", va="center", color="black" if bright or math.isnan(value) else "white")


def _frame(axes: Any, sweep: Sweep, point: Point, names: tuple[str, str]) -> None:
    """A frame around the best point."""
    from matplotlib.patches import Rectangle

    i, j = (choices(sweep, name).index(point.settings[name]) for name in names)
    axes.add_patch(Rectangle((j - 0.47, i - 0.44), 0.94, 0.88, fill=False, edgecolor="red", linewidth=2))


def _lines(sweep: Sweep, name: Path) -> list[Path]:
    """A panel per setting with a line for each combination of the others; bars are bootstrap intervals."""
    return draw(name, _size(len(sweep.names), 4.2, 3.6), lambda figure: _paint_lines(figure, sweep))


def _paint_lines(figure: Any, sweep: Sweep) -> None:
    all_axes = _panel_axes(figure, len(sweep.names))
    for axes, name in zip(all_axes, sweep.names, strict=True):
        values = choices(sweep, name)
        is_scale = all(_is_number(value) for value in values)
        combinations = panels(sweep, [other for other in sweep.names if other != name])
        for rest in combinations:
            points = [
                p for p in sweep.points if p.value is not None and all(p.settings[key] == value for key, value in rest.items())
            ]
            places = [p.settings[name] if is_scale else values.index(p.settings[name]) for p in points]
            heights = [p.value * sweep.facts["scale"] for p in points]
            label = ", ".join(f"{sweep.short(key)} {shown(value)}" for key, value in rest.items())
            bars = _bars(sweep, points) if len(combinations) <= _MOST_LINES_WITH_BARS else None
            axes.errorbar(places, heights, yerr=bars, marker="o", capsize=3, label=label)
        axes.set_xticks(values if is_scale else range(len(values)), [shown(value) for value in values])
        axes.set_xlabel(sweep.short(name))
        axes.set_ylabel(sweep.facts["label"])
        axes.grid(alpha=0.3)
        if len(sweep.names) > 1:
            axes.legend(fontsize="x-small", ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.16))
    if sweep.best is not None:
        figure.suptitle(f"best: {describe(sweep, sweep.best)}", fontsize="medium")


def _bars(sweep: Sweep, points: list[Point]) -> list[list[float]] | None:
    """Distances from each value to the ends of its interval; None: not all points have one."""
    known = [(point.value, point.interval) for point in points if point.value is not None and point.interval is not None]
    if not points or len(known) < len(points):
        return None
    scale = sweep.facts["scale"]
    below = [max(0.0, value - low) * scale for value, (low, _) in known]
    return [below, [max(0.0, high - value) * scale for value, (_, high) in known]]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
