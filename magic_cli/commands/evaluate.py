"""magic evaluate: score captions and stories of any tool."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from magic_cli.evaluation.corpora import find_systems
from magic_cli.evaluation.evaluate import prepare
from magic_cli.evaluation.judging import Judged, judge
from magic_cli.evaluation.settings import EvaluateSettings, TableFormat
from magic_cli.files import write_atomically
from magic_cli.reports.interval_plots import comparison_plot, evaluation_plot
from magic_cli.reports.plots import plot_name
from magic_cli.reports.tables import Table, render
from magic_cli.terminal.wording import counted, duration

DONE, NOT_ALL_RUN = 0, 3
_WITH_NOTES = (TableFormat.terminal, TableFormat.markdown, TableFormat.latex)


def run(settings: EvaluateSettings) -> int:
    """Score every system. The table goes to stdout, files go into the run folder or below runs/evaluate.

    Returns:
        0, or 3 if a requested metric could not run.
    """
    systems = find_systems(settings.systems, id_key=settings.id_key, caption_key=settings.caption_key, tell=_tell)
    plot = plot_name(settings.plot) if settings.plot else None
    began = time.monotonic()
    judged = judge(systems, settings, match=prepare, tell=_tell)
    print(_printed(judged), end="", flush=True)  # before files are written: if that fails, the table is not lost
    for evaluation in judged.evaluations:
        replaced = ", in place of the scores of other captions, references or images" if evaluation.write() else ""
        if judged.comparison is not None:
            text = json.dumps(judged.comparison, ensure_ascii=False, indent=1) + "\n"
            write_atomically(evaluation.place / "comparison.json", text)
        _tell(f"{evaluation.system.name}: {evaluation.place / 'metrics.json'} and per_item.jsonl{replaced}")
    if plot is not None:
        tell_files(_plotted(judged, plot))
    _tell(_spent(judged.documents, time.monotonic() - began))
    return tell_not_run(judged.documents, [judged.table], settings.format)


def _tell(note: str) -> None:
    print(f"magic: {note}", file=sys.stderr)


def _plotted(judged: Judged, name: Path) -> list[Path]:
    if judged.comparison is not None:
        return comparison_plot(judged.comparison, name)
    return evaluation_plot(judged.documents, judged.settings.bootstrap.confidence, name)


def tell_files(files: Sequence[Path]) -> None:
    """Print on stderr which files were written."""
    for file in files:
        print(f"magic: {file}", file=sys.stderr)


def _spent(documents: Sequence[dict[str, Any]], seconds: float) -> str:
    """Time of the whole evaluation, and of the slowest metric; metrics run side by side."""
    longest, its_seconds = max(documents[0]["seconds"].items(), key=lambda item: item[1])
    return f"{counted(len(documents), 'system')} scored in {duration(seconds)}; {longest} took {duration(its_seconds)}"


def tell_not_run(documents: Sequence[dict[str, Any]], tables: Sequence[Table], style: TableFormat) -> int:
    """Print on stderr which metrics did not run, and why, unless a printed note says it; returns the exit status."""
    notes = "\n".join(note for table in tables for note in table.notes) if style in _WITH_NOTES else ""
    reasons = {name: why for document in documents for name, why in document["not_run"].items()}
    for name, why in reasons.items():
        if why not in notes:
            print(f"magic: {name} not run: {why}", file=sys.stderr)
    if told := [name for name, why in reasons.items() if why in notes]:
        print(f"magic: {', '.join(told)}: not scored, for the reason below the table", file=sys.stderr)
    return NOT_ALL_RUN if reasons else DONE


def _printed(judged: Judged) -> str:
    if judged.settings.format is TableFormat.json:
        document = {"systems": judged.documents} | ({"comparison": judged.comparison} if judged.comparison else {})
        return json.dumps(document, ensure_ascii=False, indent=1, default=str) + "\n"
    return render([judged.table], judged.settings.format.value)
