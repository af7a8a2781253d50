"""Pictures of a sweep: a heat map over two settings, and lines over each."""

from __future__ import annotations

import importlib.util
import itertools
import json
import math
from pathlib import Path
from typing import Any

from magic_cli.errors import MagicError, SettingsError
from magic_cli.reports.sweep import Point, Sweep
from magic_cli.reports.sweep_table import describe, shown

_PANELS_A_ROW = 4
_MOST_LINES_WITH_BARS = 3


def check_plotting(sweep: Sweep) -> None:
    """Refuse early what could not be drawn.

    Raises:
        MagicError: matplotlib is missing, nothing varies, or no point has a value.
    """
    if sweep.best is None:
        raise SettingsError(
            f"--plot: no point has a value of {sweep.metric} of all its runs; finish and evaluate them, or leave --plot out to see which"
        )
    if not sweep.names:
        raise SettingsError("--plot: all runs have the same settings, so there is nothing to draw; name the runs of a sweep")
    if importlib.util.find_spec("matplotlib") is None:
        raise MagicError("--plot needs matplotlib; pip install matplotlib, or leave --plot out")


def plot_sweep(sweep: Sweep, folder: Path) -> list[Path]:
    """Write ``<metric>_lines.png`` and, if two settings vary, ``<metric>_heat_map.png``; returns the files."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files = [folder / f"{sweep.metric}_lines.png"]
        _lines(sweep).savefig(files[0], dpi=120)
        if len(sweep.names) > 1:
            files.insert(0, folder / f"{sweep.metric}_heat_map.png")
            _heat_map(sweep).savefig(files[0], dpi=120)
    except OSError as error:
        raise MagicError(f"output={folder}: cannot be written ({error.strerror}); set --output to another folder") from error
    return files


def choices(sweep: Sweep, name: str) -> list[Any]:
    """The values of a setting, in the order of the points."""
    found = {json.dumps(point.settings[name]): point.settings[name] for point in sweep.points}
    values = list(found.values())
    return sorted(values) if all(_is_number(value) for value in values) else values


def grid(sweep: Sweep, rows: str, columns: str, rest: dict[str, Any]) -> list[list[float]]:
    """Values as printed at every pair of two settings, where the others are ``rest``; NaN where there is none."""
    found: dict[tuple[str, str], float] = {}
    for point in sweep.points:
        if point.value is not None and all(point.settings[name] == value for name, value in rest.items()):
            found[json.dumps(point.settings[rows]), json.dumps(point.settings[columns])] = point.value * sweep.facts["scale"]
    return [
        [found.get((json.dumps(row), json.dumps(column)), math.nan) for column in choices(sweep, columns)]
        for row in choices(sweep, rows)
    ]


def panels(sweep: Sweep, names: list[str]) -> list[dict[str, Any]]:
    """Every combination of values of some settings that occurs in the sweep."""
    occurring = [{name: point.settings[name] for name in names} for point in sweep.points]
    every = (dict(zip(names, values, strict=True)) for values in itertools.product(*(choices(sweep, name) for name in names)))
    return [combination for combination in every if combination in occurring]


def _figure(count: int, width: float, height: float) -> tuple[Any, list[Any]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(count, _PANELS_A_ROW)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(width * columns + 0.8, height * rows), layout="constrained")
    FigureCanvasAgg(figure)  # draws without a display
    axes = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for unused in axes[count:]:
        unused.set_axis_off()
    return figure, axes[:count]


def _heat_map(sweep: Sweep) -> Any:
    """The two settings with the most values span the map; the others make panels side by side, on one scale of colours."""
    by_size = sorted(sweep.names, key=lambda name: -len(choices(sweep, name)))
    rows, columns = sorted(by_size[:2], key=sweep.names.index)
    others = [name for name in sweep.names if name not in (rows, columns)]
    combinations = panels(sweep, others)
    maps = [grid(sweep, rows, columns, rest) for rest in combinations]
    known = [value for values in maps for line in values for value in line if not math.isnan(value)]
    figure, all_axes = _figure(len(maps), 1.6 + 0.8 * len(choices(sweep, columns)), 1.6 + 0.55 * len(choices(sweep, rows)))
    colours = "viridis" if sweep.facts["higher_is_better"] else "viridis_r"  # bright is good
    for axes, rest, values in zip(all_axes, combinations, maps, strict=True):
        image = axes.imshow(values, cmap=colours, vmin=min(known), vmax=max(known), aspect="auto")
        _label_map(axes, sweep, (rows, columns), values, (min(known) + max(known)) / 2)
        axes.set_title(", ".join(f"{sweep.short(name)} {shown(value)}" for name, value in rest.items()))
        if sweep.best is not None and all(sweep.best.settings[name] == value for name, value in rest.items()):
            _frame(axes, sweep, sweep.best, (rows, columns))
    figure.colorbar(image, ax=all_axes, label=sweep.facts["label"])
    return figure


def _label_map(axes: Any, sweep: Sweep, names: tuple[str, str], values: list[list[float]], middle: float) -> None:
    rows, columns = names
    axes.set_yticks(range(len(values)), [shown(value) for value in choices(sweep, rows)])
    axes.set_xticks(range(len(values[0])), [shown(value) for value in choices(sweep, columns)])
    axes.set_ylabel(sweep.short(rows))
    axes.set_xlabel(sweep.short(columns))
    for i, line in enumerate(values):
        for j, value in enumerate(line):
            bright = value > middle if sweep.facts["higher_is_better"] else value < middle
            text = "-" if math.isnan(value) else f"{value:.{sweep.facts['digits']}f}"
            axes.text(j, i, text, ha="center", va="center", color="black" if bright or math.isnan(value) else "white")


def _frame(axes: Any, sweep: Sweep, point: Point, names: tuple[str, str]) -> None:
    """A frame around the best point."""
    from matplotlib.patches import Rectangle

    i, j = (choices(sweep, name).index(point.settings[name]) for name in names)
    axes.add_patch(Rectangle((j - 0.47, i - 0.44), 0.94, 0.88, fill=False, edgecolor="red", linewidth=2))


def _lines(sweep: Sweep) -> Any:
    """For each setting a panel with one line for each combination of the others; bars are bootstrap intervals."""
    figure, all_axes = _figure(len(sweep.names), 4.2, 3.6)
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
    return figure


def _bars(sweep: Sweep, points: list[Point]) -> list[list[float]] | None:
    """Distances from each value to the ends of its interval; None: not all points have one."""
    if not points or any(point.interval is None for point in points):
        return None
    scale = sweep.facts["scale"]
    below = [max(0.0, point.value - point.interval[0]) * scale for point in points]
    return [below, [max(0.0, point.interval[1] - point.value) * scale for point in points]]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
