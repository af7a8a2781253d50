"""magic evaluate: score captions of any tool against references."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

from magic_cli.errors import SettingsError
from magic_cli.evaluation.corpora import find_systems
from magic_cli.evaluation.evaluate import Evaluation, evaluate
from magic_cli.reports.evaluation import comparison_table, evaluation_table
from magic_cli.reports.tables import render
from magic_cli.runs import write_atomically
from magic_cli.evaluation.settings import EvaluateSettings

DONE, NOT_ALL_RUN = 0, 3


def run(settings: EvaluateSettings) -> int:
    """Score every system; the table goes to stdout, files beside the run or below runs/evaluate.

    Returns:
        0, or 3 if a metric that was asked for could not run.
    """
    systems = find_systems(settings.systems, id_key=settings.id_key, caption_key=settings.caption_key)
    if settings.compare and len(systems) != 2:
        raise SettingsError(f"--compare needs two systems, got {len(systems)}: {', '.join(system.name for system in systems)}")
    evaluations = evaluate(systems, settings)
    for evaluation in evaluations:
        evaluation.write()
    documents = [evaluation.document for evaluation in evaluations]
    if settings.compare:
        rows, table = _compare(evaluations, settings)
        for evaluation in evaluations:
            write_atomically(evaluation.folder / "comparison.json", json.dumps(rows, ensure_ascii=False, indent=1) + "\n")
    if settings.format.value == "json":
        print(json.dumps({"systems": documents, **({"comparison": rows} if settings.compare else {})}, ensure_ascii=False, indent=1, default=str))
    else:
        shown = table if settings.compare else evaluation_table(documents, confidence=settings.bootstrap.confidence)
        print(render([shown], settings.format.value), end="")
    for evaluation in evaluations:
        print(f"magic: {evaluation.system.name}: {evaluation.folder / 'metrics.json'} and per_item.jsonl", file=sys.stderr)
    return NOT_ALL_RUN if any(document["not_run"] for document in documents) else DONE


def _compare(evaluations: list[Evaluation], settings: EvaluateSettings) -> tuple[dict[str, Any], Any]:
    """The paired test of two systems on the same items.

    Raises:
        SettingsError: They were not scored on the same items.
    """
    first, second = evaluations
    if first.corpus.ids != second.corpus.ids:
        only = set(first.corpus.ids) ^ set(second.corpus.ids)
        detail = f"{len(only)} items are in one of them only, e.g. {sorted(only)[0]!r}" if only else "their items are in another order"
        raise SettingsError(f"--compare: {first.system.name} and {second.system.name} were not scored on the same items ({detail}); give both the same --references, or set only_common=true")
    options = settings.bootstrap
    resampler = options.resampler(len(first.corpus))
    if resampler is None:
        raise SettingsError("--compare needs two items or more, and bootstrap.samples of at least 1")
    rows = [
        {
            "measure": a.measure.key, "label": a.measure.label, "scale": a.measure.scale, "digits": a.measure.digits, "first": a.overall, "second": b.overall,
            "difference": found.difference, "low": found.low, "high": found.high, "p_value": found.p_value,
        }
        for a, b, found in zip(first.scores, second.scores, resampler.comparisons(second.scores, first.scores, options.confidence), strict=True)
        if found is not None
    ]  # fmt: skip
    names = (first.system.name, second.system.name)
    table = comparison_table(names, rows, n=len(first.corpus), samples=options.samples, confidence=options.confidence)
    document = {"systems": names, "n": len(first.corpus), **asdict(options), "measures": rows}
    return document, table
