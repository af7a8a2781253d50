"""A picture of the growth table."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from magic_cli.errors import MagicError


def check_plotting() -> None:
    """Refuse early what ``plot_growth`` could not do.

    Raises:
        MagicError: matplotlib is missing.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise MagicError("parts=growth draws a plot and needs matplotlib; pip install matplotlib, or leave growth out of parts")


def plot_growth(section: Mapping[str, Any], file: Path) -> None:
    """Write a PNG: seconds a caption against k, tokens and batch size, side by side; dashed: in proportion to the first point."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.6), layout="constrained")
    FigureCanvasAgg(figure)  # draws without a display
    for axes, (name, points) in zip(figure.subplots(1, len(section["axes"])), section["axes"].items(), strict=True):
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
    figure.savefig(file, dpi=120)
