"""The curve of a training run as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from magic_cli.errors import MagicError


def check_plotting() -> None:
    """Check at the start that the curve can be drawn at the end.

    Raises:
        MagicError: matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MagicError("the curve needs matplotlib; pip install matplotlib") from error


TOKEN_LOSS, SIMILARITY = "loss of a token (nats)", ("token_similarity", "token similarity")


def plot_curve(
    lines: Sequence[dict[str, Any]], file: Path, *, loss: str = TOKEN_LOSS, beneath: tuple[str, str] = SIMILARITY
) -> None:
    """Draw the lines of metrics.jsonl: loss of training and validation over steps, and another number of the validation beneath.

    Args:
        lines: Of metrics.jsonl.
        file: The picture, a png.
        loss: What the loss is called.
        beneath: Name of the other number, and what it is called.
    """
    name, called = beneath
    from matplotlib.figure import Figure

    training = [line for line in lines if "loss" in line]
    measured = [line for line in lines if "validation" in line]
    figure = Figure(figsize=(7, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    above.plot([line["step"] for line in training], [line["loss"] for line in training], label="training")
    steps = [line["step"] for line in measured]
    above.plot(steps, [line["validation"]["loss"] for line in measured], marker="o", label="validation")
    above.set_ylabel(loss)
    above.legend()
    below.plot(steps, [line["validation"][name] for line in measured], marker="o", color="tab:green")
    below.set_ylabel(called)
    below.set_xlabel("step")
    temporary = file.with_name(f".{file.name}.tmp")
    figure.savefig(temporary, format="png", dpi=120, metadata={"Software": None})
    temporary.replace(file)
