"""magic evaluate: score captions and stories of any tool."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from magic_cli.errors import SettingsError
from magic_cli.evaluation.answers import with_answer_metrics
from magic_cli.evaluation.comparing import check_comparable, compare
from magic_cli.evaluation.corpora import find_systems
from magic_cli.evaluation.evaluate import evaluate, prepare
from magic_cli.evaluation.own_model import with_own_model
from magic_cli.evaluation.settings import EvaluateSettings, ScoringSettings, TableFormat
from magic_cli.evaluation.stories import nobody_has_chosen, story_systems, with_story_metrics
from magic_cli.files import write_atomically
from magic_cli.reports.evaluation import comparison_table, evaluation_table
from magic_cli.reports.interval_plots import comparison_plot, evaluation_plot
from magic_cli.reports.plots import plot_name
from magic_cli.reports.tables import Table, render
from magic_cli.terminal.wording import counted, duration

DONE, NOT_ALL_RUN = 0, 3
_WITH_NOTES = (TableFormat.terminal, TableFormat.markdown, TableFormat.latex)


def run(settings: EvaluateSettings) -> int:
    """Score every system; the table goes to stdout, files beside the run or below runs/evaluate.

    Returns:
        0, or 3 if a metric that was asked for could not run.
    """
    systems = find_systems(settings.systems, id_key=settings.id_key, caption_key=settings.caption_key)
    systems = story_systems(systems, settings)
    if nobody_has_chosen(settings) and all(system.writes_stories for system in systems):
        settings = with_story_metrics(settings)
        print(
            f"magic: these are stories, scored by {', '.join(settings.metrics.names)}; choose others with --metrics",
            file=sys.stderr,
        )
    if nobody_has_chosen(settings) and all(system.writes_answers for system in systems):
        settings = with_answer_metrics(settings, systems)
        print(
            f"magic: these are texts and images in turn, scored by {', '.join(settings.metrics.names)}; choose others with --metrics",
            file=sys.stderr,
        )
    if settings.compare and (len(systems) < 2 or not settings.bootstrap.samples):
        names = ", ".join(system.name for system in systems)
        raise SettingsError(
            f"--compare needs two systems or more and bootstrap.samples of at least 1, got {len(systems)} ({names}) and {settings.bootstrap.samples}"
        )
    settings, warning = with_own_model(settings, systems)
    if warning:
        print(f"magic: {warning}", file=sys.stderr)
    prepared = prepare(systems, settings)
    if settings.compare:
        check_comparable([one.corpus for one in prepared])
    plot = plot_name(settings.plot) if settings.plot else None
    began = time.monotonic()
    evaluations = evaluate(prepared, settings)
    documents = [evaluation.document for evaluation in evaluations]
    comparison = compare(evaluations, settings.bootstrap) if settings.compare else None
    table = (
        evaluation_table(documents, confidence=settings.bootstrap.confidence)
        if comparison is None
        else comparison_table(comparison, documents)
    )
    print(_printed(table, documents, comparison, settings), end="", flush=True)  # first: nothing is lost if it cannot be written
    for evaluation in evaluations:
        replaced = ", in place of the scores of other captions, references or images" if evaluation.write() else ""
        if comparison is not None:
            write_atomically(evaluation.folder / "comparison.json", json.dumps(comparison, ensure_ascii=False, indent=1) + "\n")
        print(
            f"magic: {evaluation.system.name}: {evaluation.folder / 'metrics.json'} and per_item.jsonl{replaced}", file=sys.stderr
        )
    if plot is not None:
        confidence = settings.bootstrap.confidence
        tell_files(evaluation_plot(documents, confidence, plot) if comparison is None else comparison_plot(comparison, plot))
    print(f"magic: {_spent(documents, time.monotonic() - began)}", file=sys.stderr)
    return tell_not_run(documents, [table], settings)


def tell_files(files: Sequence[Path]) -> None:
    """Say on stderr which files were written."""
    for file in files:
        print(f"magic: {file}", file=sys.stderr)


def _spent(documents: Sequence[dict[str, Any]], seconds: float) -> str:
    """Of the whole evaluation, and of the metric that took longest; metrics run side by side."""
    longest, its_seconds = max(documents[0]["seconds"].items(), key=lambda item: item[1])
    return f"{counted(len(documents), 'system')} scored in {duration(seconds)}; {longest} took {duration(its_seconds)}"


def tell_not_run(documents: Sequence[dict[str, Any]], tables: Sequence[Table], settings: ScoringSettings) -> int:
    """Say on stderr which metrics did not run, and why, unless a printed note says it; returns the exit status."""
    notes = "\n".join(note for table in tables for note in table.notes) if settings.format in _WITH_NOTES else ""
    reasons = {name: why for document in documents for name, why in document["not_run"].items()}
    for name, why in reasons.items():
        if why not in notes:
            print(f"magic: {name} not run: {why}", file=sys.stderr)
    if told := [name for name, why in reasons.items() if why in notes]:
        print(f"magic: {', '.join(told)}: not scored, for the reason below the table", file=sys.stderr)
    return NOT_ALL_RUN if reasons else DONE


def _printed(
    table: Table, documents: Sequence[dict[str, Any]], comparison: dict[str, Any] | None, settings: EvaluateSettings
) -> str:
    if settings.format is TableFormat.json:
        document = {"systems": documents} | ({"comparison": comparison} if comparison else {})
        return json.dumps(document, ensure_ascii=False, indent=1, default=str) + "\n"
    return render([table], settings.format.value)
