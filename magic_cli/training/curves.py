"""Plots the curve of a training run."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from magic_cli.reports.plots import draw

TOKEN_LOSS, SIMILARITY = "loss of a token (nats)", ("token_similarity", "token similarity")


def plot_curve(
    lines: Sequence[dict[str, Any]], name: Path, *, loss: str = TOKEN_LOSS, beneath: tuple[str, str] = SIMILARITY
) -> list[Path]:
    """Draw the lines of metrics.jsonl: losses of training and validation over steps, and below another validation number.

    Args:
        lines: The lines of metrics.jsonl.
        name: As in ``plots.draw``.
        loss: The label of the loss.
        beneath: Key and label of the other number.

    Returns:
        The files.
    """
    return draw(name, (7, 6), partial(_paint, lines=lines, loss=loss, beneath=beneath))


def _paint(figure: Any, *, lines: Sequence[dict[str, Any]], loss: str, beneath: tuple[str, str]) -> None:
    name, called = beneath
    training = [line for line in lines if "loss" in line]
    measured = [line for line in lines if "validation" in line]
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    above.plot([line["step"] for line in training], [line["loss"] for line in training], label="training")
    steps = [line["step"] for line in measured]
    above.plot(steps, [line["validation"]["loss"] for line in measured], marker="o", label="validation")
    above.set_ylabel(loss)
    above.legend()
    below.plot(steps, [line["validation"][name] for line in measured], marker="o", color="tab:green")
    below.set_ylabel(called)
    below.set_xlabel("step")
