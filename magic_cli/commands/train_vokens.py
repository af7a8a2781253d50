"""magic train-vokens: teach a language model to answer with images, in two stages; writes a folder of trained weights."""

from __future__ import annotations

import sys
from typing import Any

from magic_cli.interleaved.training.settings import TrainVokensSettings
from magic_cli.terminal.streams import print_line

DONE = 0


def run(settings: TrainVokensSettings) -> int:
    """Train one stage. Its folder goes to stdout, a summary to stderr.

    If it was stopped or killed, the next start continues from its last checkpoint, with the same bytes as result.
    """
    training, measured = settings.dataset.training_and_validation()

    from magic_cli.interleaved.training.run import train_vokens  # imports torch; a missing file has been reported before

    report = train_vokens(settings, training, measured)
    if report is not None and (change := _change(report)):
        print(f"magic: {change}", file=sys.stderr)
    print_line(str(settings.run_folder))
    return DONE


def _change(report: dict[str, Any]) -> str:
    before, after = report["before"], report["after"]
    names = [name for name in before if name.endswith("loss")]
    changes = ", ".join(f"{name.replace('_', ' ')} {before[name]:.4g} -> {after[name]:.4g}" for name in names)
    return f"{report['selected_on']} items: {changes} (step {after['step']})" if changes else ""
