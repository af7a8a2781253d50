"""magic evaluate: score captions and stories of any tool."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from magic_cli.errors import SettingsError
from magic_cli.evaluation.corpora import find_systems
from magic_cli.evaluation.evaluate import Evaluation, check_comparable, evaluate, prepare
from magic_cli.evaluation.settings import EvaluateSettings
from magic_cli.evaluation.stories import story_systems
from magic_cli.evaluation.story_rows import nobody_has_chosen, with_story_metrics
from magic_cli.reports.evaluation import comparison_table, evaluation_table
from magic_cli.reports.tables import render
from magic_cli.runs import write_atomically

DONE, NOT_ALL_RUN = 0, 3


def run(settings: EvaluateSettings) -> int:
    """Score every system; the table goes to stdout, files beside the run or below runs/evaluate.

    Returns:
        0, or 3 if a metric that was asked for could not run.
    """
    systems = find_systems(settings.systems, id_key=settings.id_key, caption_key=settings.caption_key)
    systems = story_systems(systems, settings)
    if nobody_has_chosen(settings) and all(system.writes_stories for system in systems):
        settings = with_story_metrics(settings)
        print(f"magic: these are stories, scored by {', '.join(settings.metrics.names)}; choose others with --metrics", file=sys.stderr)
    if settings.compare and (len(systems) != 2 or not settings.bootstrap.samples):
        names = ", ".join(system.name for system in systems)
        raise SettingsError(f"--compare needs two systems and bootstrap.samples of at least 1, got {len(systems)} ({names}) and {settings.bootstrap.samples}")
    prepared = prepare(systems, settings)
    if settings.compare:
        check_comparable(prepared[0].corpus, prepared[1].corpus)
    evaluations = evaluate(prepared, settings)
    comparison = _compare(evaluations, settings) if settings.compare else None
    print(_printed(evaluations, comparison, settings), end="", flush=True)  # first: nothing is lost if it cannot be written
    for evaluation in evaluations:
        evaluation.write()
        if comparison is not None:
            write_atomically(evaluation.folder / "comparison.json", json.dumps(comparison, ensure_ascii=False, indent=1) + "\n")
        print(f"magic: {evaluation.system.name}: {evaluation.folder / 'metrics.json'} and per_item.jsonl", file=sys.stderr)
    return tell_not_run([evaluation.document for evaluation in evaluations])


def tell_not_run(documents: Sequence[dict[str, Any]]) -> int:
    """Say on stderr which metrics did not run, whatever the format; returns the exit status."""
    reasons = {name: why for document in documents for name, why in document["not_run"].items()}
    for name, why in reasons.items():
        print(f"magic: {name} not run: {why}", file=sys.stderr)
    return NOT_ALL_RUN if reasons else DONE


def _printed(evaluations: Sequence[Evaluation], comparison: dict[str, Any] | None, settings: EvaluateSettings) -> str:
    documents = [evaluation.document for evaluation in evaluations]
    if settings.format.value == "json":
        document = {"systems": documents} | ({"comparison": comparison} if comparison else {})
        return json.dumps(document, ensure_ascii=False, indent=1, default=str) + "\n"
    table = evaluation_table(documents, confidence=settings.bootstrap.confidence) if comparison is None else comparison_table(comparison, documents)
    return render([table], settings.format.value)


def _compare(evaluations: Sequence[Evaluation], settings: EvaluateSettings) -> dict[str, Any]:
    """The paired test of two systems on the same items: what comparison.json holds.

    Raises:
        SettingsError: A single item tells nothing.
    """
    first, second = evaluations
    resampler = settings.bootstrap.resampler(len(first.corpus))
    if resampler is None:
        raise SettingsError("--compare needs two images or more, got 1")
    rows = [
        {
            "measure": a.measure.key, "label": a.measure.label, "scale": a.measure.scale, "digits": a.measure.digits,
            "first": a.overall, "second": b.overall, **asdict(found),
        }
        for a, b, found in zip(first.scores, second.scores, resampler.comparisons(second.scores, first.scores, settings.bootstrap.confidence), strict=True)
        if found is not None
    ]  # fmt: skip
    return {"systems": [first.system.name, second.system.name], "n": len(first.corpus), **asdict(settings.bootstrap), "measures": rows}
