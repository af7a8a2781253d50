"""The rows of MiniGPT-5's tables: runs of texts and images in turn, each scored by the metrics that its true answers allow."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from magic_cli.errors import SettingsError
from magic_cli.evaluation.answers import with_answer_metrics
from magic_cli.evaluation.corpora import find_systems
from magic_cli.evaluation.evaluate import evaluate, prepare
from magic_cli.evaluation.own_model import with_own_model
from magic_cli.evaluation.settings import ScoringSettings
from magic_cli.evaluation.stories import nobody_has_chosen

BY_INCEPTION = ("fid", "story_fid", "inception_score")


def measure_answers(rows: dict[Path, str], settings: ScoringSettings) -> dict[str, list[dict[str, Any]]]:
    """Score run folders one by one, and write their metrics.json.

    Args:
        rows: Row id of each run folder.
        settings: How to score. If the user chose no metrics, each run gets those that its true answers allow.

    Returns:
        The metrics.json documents by row id.

    Raises:
        MagicError: A run cannot be read, or has no texts and images in turn.
    """
    measured: dict[str, list[dict[str, Any]]] = {}
    for path, row in rows.items():
        systems = find_systems([str(path)], id_key=settings.id_key, caption_key=settings.caption_key)
        if not systems[0].writes_answers:
            raise SettingsError(f"--row {row}={path}: is not a run of `magic interleave`")
        own, _ = with_own_model(_with_metrics(settings, systems), systems)
        for evaluation in evaluate(prepare(systems, own), own):
            evaluation.write()
            measured.setdefault(row, []).append(evaluation.document)
            print(f"magic: {row}: {evaluation.system.source}, scores in {evaluation.folder}", file=sys.stderr)
    return measured


def _with_metrics(settings: ScoringSettings, systems: list[Any]) -> ScoringSettings:
    if not nobody_has_chosen(settings):
        return settings
    chosen = with_answer_metrics(settings, systems)
    names = [name for name in chosen.metrics.names if not name.startswith("fid_")]
    if settings.metrics.fid.weights and "clip_i" in names:
        several = all(
            sum(answer.true_image is not None for answer in item.answers) > 1 for system in systems for item in system.items
        )
        names += [name for name in BY_INCEPTION if name != "story_fid" or several]
    return replace(chosen, metrics=replace(chosen.metrics, names=names))
