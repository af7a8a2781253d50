"""Plots the table of growth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from magic_cli.reports.plots import draw


def plot_growth(section: Mapping[str, Any], name: Path) -> list[Path]:
    """Seconds per caption against k, tokens and batch size, side by side; dashed: proportional to the first point.

    Args:
        section: The section of bench.json.
        name: As in ``plots.draw``.

    Returns:
        The files.
    """
    return draw(name, (12, 3.6), lambda figure: _paint(figure, section["axes"]))


def _paint(figure: Any, all_points: Mapping[str, Any]) -> None:
    for axes, (name, points) in zip(figure.subplots(1, len(all_points)), all_points.items(), strict=True):
        places = [point[name] for point in points]
        seconds = [point["seconds_per_text"] for point in points]
        axes.plot(places, seconds, marker="o", label="measured")
        if name != "batch":
            axes.plot(
                places, [seconds[0] * place / places[0] for place in places], linestyle="--", color="grey", label="in proportion"
            )
            axes.legend()
        axes.set_xlabel({"k": "candidates k", "tokens": "new tokens", "batch": "batch size"}[name])
        axes.set_ylabel("seconds a caption")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
