"""The one number that a search over settings goes by: a measure of finished runs, written to their metrics.json."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from magic_cli.errors import MagicError, SettingsError, nearest
from magic_cli.evaluation.corpora import find_systems
from magic_cli.evaluation.evaluate import evaluate, prepare
from magic_cli.evaluation.settings import ScoringSettings
from magic_cli.metrics.base import Measure
from magic_cli.metrics.settings import MEASURES, MetricsSettings


def find_measure(key: str) -> tuple[str, Measure]:
    """The metric that has a measure, and the measure.

    Raises:
        SettingsError: There is none of this name.
    """
    if key not in MEASURES:
        raise SettingsError(f"run.objective={key}: no such measure; {nearest(key, list(MEASURES))}")
    return MEASURES[key]


def objective(folders: Sequence[Path], settings: Any) -> float:
    """Evaluate the runs of one point of a search by ``run.objective``.

    Args:
        folders: One run folder, or those of all its repeats.
        settings: Of the run; its image-text model is the one of CLIPScore.

    Returns:
        The mean over the runs, in the measure's own range.

    Raises:
        MagicError: The runs have no references, or the metric could not run.
    """
    key = settings.run.objective
    metric, _ = find_measure(key)
    scoring = ScoringSettings(image_text_model=settings.image_text_model, metrics=MetricsSettings(names=[metric]), run=settings.run)
    evaluations = evaluate(prepare(find_systems([str(folder) for folder in folders], id_key=None, caption_key=None), scoring), scoring)
    values = []
    for evaluation in evaluations:
        evaluation.write()
        for name, why in evaluation.document["not_run"].items():
            raise MagicError(f"run.objective={key}: {name} not run: {why}")
        values.append(evaluation.document["metrics"][key]["value"])
    return statistics.mean(values)
