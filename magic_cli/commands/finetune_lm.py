"""magic finetune-lm: adapt a language model to texts, without images, into a folder that every tool can load."""

from __future__ import annotations

import sys
from typing import Any

from magic_cli.terminal.streams import print_line
from magic_cli.training.settings import FinetuneSettings, Selection

DONE = 0


def run(settings: FinetuneSettings) -> int:
    """Adapt the model. The model's folder goes to stdout, a summary to stderr.

    If it was stopped or killed, the next start continues from its last checkpoint, with the same bytes as result.
    """
    training, measured = settings.dataset.training_and_validation()
    if settings.validate.select_on is Selection.test:
        measured = settings.dataset.test_texts()

    from magic_cli.training.finetune import finetune  # imports torch; a missing file has been reported before

    report = finetune(settings, training, measured[: settings.validate.limit])
    if report is not None:
        print(f"magic: {_change(report)}", file=sys.stderr)
    print_line(str(settings.run_folder))
    return DONE


def _change(report: dict[str, Any]) -> str:
    before, after = report["before"], report["after"]
    names = {
        "perplexity_per_token": "perplexity per token",
        "perplexity_per_word": "per word",
        "token_similarity": "token similarity",
    }
    changes = ", ".join(f"{text} {before[name]:.4g} -> {after[name]:.4g}" for name, text in names.items())
    return f"{report['selected_on']} texts: {changes} (step {after['step']})"
