"""Draws figures without a display and writes them as PNG and SVG, with the same bytes each time. All plots use this module."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from magic_cli.data.paths import expanded
from magic_cli.errors import MagicError, SettingsError
from magic_cli.terminal.streams import one_line

SUFFIXES = (".png", ".svg")
_OTHER_PICTURES = (".pdf", ".jpg", ".jpeg", ".eps", ".ps", ".gif", ".webp", ".tif", ".tiff")
_DOTS_PER_INCH = 150
_LOOKS: dict[Any, Any] = {
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "svg.fonttype": "none",  # text stays text: it can be searched, copied and read aloud
    "svg.hashsalt": "magic",  # else names in the file would differ each time
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_LONGEST_LABEL = 40


def check_plotting(setting: str) -> None:
    """Fail early if a plot cannot be drawn in the end.

    Args:
        setting: The setting that asks for the plot, as the user typed it.

    Raises:
        MagicError: matplotlib is not installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise MagicError(f"{setting} draws a plot and needs matplotlib; pip install matplotlib, or leave it out")


def plot_name(plot: str) -> Path:
    """The common name of the files, without ``.png`` or ``.svg``; checks that they can be drawn and written.

    Args:
        plot: The name after ``--plot``.

    Raises:
        MagicError: matplotlib is missing, the suffix is that of another format, or the folder cannot be written.
    """
    check_plotting("--plot")
    path = expanded(plot)
    suffix = path.suffix.lower()
    if suffix in _OTHER_PICTURES:
        raise SettingsError(f"--plot {plot}: plots are written as PNG and SVG; name it {path.with_suffix('.png')}")
    name = path.with_suffix("") if suffix in SUFFIXES else path
    if plot.endswith("/") or name.is_dir():
        raise SettingsError(f"--plot {plot}: is a folder; name a file in it, such as {name / 'plot.png'}")
    try:
        name.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MagicError(f"--plot {plot}: {name.parent} cannot be made ({error.strerror}); name another place") from error
    if not os.access(name.parent, os.W_OK | os.X_OK):
        raise MagicError(f"--plot {plot}: {name.parent} cannot be written; name another place")
    return name


def draw(name: Path, size: tuple[float, float], paint: Callable[[Any], None]) -> list[Path]:
    """Paint a figure and write it, each file atomically.

    Args:
        name: The common name of the files; ``.png`` and ``.svg`` are added.
        size: Width and height in inches.
        paint: Draws on a ``matplotlib.figure.Figure``.

    Returns:
        The two files.

    Raises:
        MagicError: They cannot be written.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    files = [name.with_name(name.name + suffix) for suffix in SUFFIXES]
    with matplotlib.rc_context(_LOOKS):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)  # draws without a display
        paint(figure)
        for file in files:
            temporary = file.with_name(f".{file.name}.tmp")
            facts = {"Software": None} if file.suffix == ".png" else {"Date": None, "Creator": None}
            try:
                figure.savefig(temporary, format=file.suffix[1:], dpi=_DOTS_PER_INCH, metadata=facts)
                temporary.replace(file)
            except OSError as error:
                temporary.unlink(missing_ok=True)
                raise MagicError(f"{file}: cannot be written ({error.strerror}); name another place") from error
    return files


def label(text: str) -> str:
    """A name as a label: one line, shortened in the middle if it is long.

    >>> label("coco-magic"), label("runs/caption/coco-magic-with-a-very-long-name-1a2b3c4d")
    ('coco-magic', 'runs/caption/coco-m…y-long-name-1a2b3c4d')
    """
    text = one_line(text)
    half = _LONGEST_LABEL // 2 - 1
    return text if len(text) <= _LONGEST_LABEL else f"{text[:half]}…{text[-half - 1 :]}"
