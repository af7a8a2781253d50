"""magic table: the paper's tables, measured numbers beside the printed ones; and the points of a sweep."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from magic_cli.commands.evaluate import DONE, NOT_ALL_RUN, tell_files, tell_not_run
from magic_cli.data.paths import expanded
from magic_cli.errors import SettingsError
from magic_cli.evaluation.answer_rows import measure_answers
from magic_cli.evaluation.corpora import find_systems
from magic_cli.evaluation.evaluate import evaluate, prepare
from magic_cli.evaluation.human_scores import PREFERENCES_ROW, add_human_scores, add_preferences
from magic_cli.evaluation.settings import TableSettings
from magic_cli.evaluation.stories import without_story_metrics
from magic_cli.evaluation.story_rows import measure_stories
from magic_cli.metrics.settings import MEASURES
from magic_cli.reports.paper import MINIGPT5, PaperTable, load_paper
from magic_cli.reports.paper_plots import plot_tables
from magic_cli.reports.paper_tables import build_tables
from magic_cli.reports.plots import plot_name
from magic_cli.reports.row_files import Located, locate, split_words
from magic_cli.reports.sweep import read_sweep
from magic_cli.reports.sweep_plots import check_sweep, plot_sweep
from magic_cli.reports.sweep_table import sweep_table
from magic_cli.reports.tables import render

SWEEP = "sweep"


def run(settings: TableSettings) -> int:
    """Score the files of rows and print the chosen tables.

    Returns:
        0, or 3 if a requested metric could not run; for a sweep as in ``show_sweep``.
    """
    if settings.words[:1] == [SWEEP]:
        return show_sweep(settings)
    if settings.words[:1] and settings.words[0] in load_paper(MINIGPT5).tables:
        return show_answers(settings)
    numbers, places = split_words(settings.words)
    tables = load_paper().chosen(numbers)
    located = locate(places, settings.rows)
    sections = {section for table in tables for section in table.sections}
    rows = {path: row for path, row in located.rows.items() if row.partition("/")[0] in sections}
    _tell_left_out(located, [path for path in located.rows if path not in rows], tables)
    if (places or settings.rows) and not rows:
        named = " ".join([*places, *settings.rows])
        raise SettingsError(f"{named}: holds no row of table {_numbers(tables)}; name rows with --row ROW=FILE")
    name = plot_name(settings.plot) if settings.plot else None
    measured = measure(rows, settings) if rows else {}
    if settings.human_scores:
        if "story" not in sections:
            raise SettingsError(f"human_scores={settings.human_scores}: belongs to table 3, not to {_numbers(tables)}")
        measured = add_human_scores(measured, expanded(settings.human_scores))
    built = build_tables(numbers, measured)
    print(render(built, settings.format.value), end="", flush=True)
    if name is not None:
        tell_files(plot_tables(load_paper(), numbers, measured, name))
    return tell_not_run([document for runs in measured.values() for document in runs], built, settings.format)


def show_answers(settings: TableSettings) -> int:
    """Score the runs of rows and print tables of MiniGPT-5. Rows are named with ``--row``, because settings do not identify them.

    Returns:
        0, or 3 if a requested metric could not run.
    """
    paper = load_paper(MINIGPT5)
    if unknown := [word for word in settings.words if word not in paper.tables]:
        raise SettingsError(
            f"{unknown[0]}: name the row of a run, as in --row vist_both/minigpt5_lora={unknown[0]} (rows: {', '.join(paper.rows)})"
        )
    sections = {section for table in paper.chosen(settings.words) for section in table.sections}
    rows = locate([], settings.rows, paper).rows
    if others := [row for row in rows.values() if row.partition("/")[0] not in sections]:
        raise SettingsError(f"--row {others[0]}: belongs to another table than {', '.join(settings.words)}")
    name = plot_name(settings.plot) if settings.plot else None
    measured = measure_answers(rows, settings) if rows else {}
    if settings.human_scores:
        if PREFERENCES_ROW.partition("/")[0] not in sections:
            raise SettingsError(
                f"human_scores={settings.human_scores}: belongs to table vist, not to {', '.join(settings.words)}"
            )
        measured = add_preferences(measured, expanded(settings.human_scores))
    built = build_tables(settings.words, measured, paper)
    print(render(built, settings.format.value), end="", flush=True)
    if name is not None:
        tell_files(plot_tables(paper, settings.words, measured, name))
    return tell_not_run([document for runs in measured.values() for document in runs], built, settings.format)


def show_sweep(settings: TableSettings) -> int:
    """Print the points of a sweep over evaluated runs, and draw them if asked to.

    Returns:
        0, or 3 if a run is not finished, or was not evaluated by the metric.
    """
    sweep = read_sweep(settings.words[1:], settings.metric, measures=list(MEASURES))
    name = plot_name(settings.plot) if settings.plot else None
    if settings.plot:
        check_sweep(sweep)
    print(render([sweep_table(sweep)], settings.format.value), end="", flush=True)
    if name is not None:
        tell_files(plot_sweep(sweep, name))
    problems = [f"{run.folder} {run.problem}" for point in sweep.points for run in point.runs if run.problem]
    for problem in problems:
        print(f"magic: {problem}", file=sys.stderr)
    return NOT_ALL_RUN if problems else DONE


def measure(rows: dict[Path, str], settings: TableSettings) -> dict[str, list[dict[str, Any]]]:
    """Score files and runs side by side, and write their metrics.json.

    Args:
        rows: Row id of each file or run folder.
        settings: How to score.

    Returns:
        Documents of metrics.json by row id.
    """
    stories = {path: row for path, row in rows.items() if row.startswith("story/")}
    captions = {path: row for path, row in rows.items() if path not in stories}
    measured = measure_stories(stories, settings) if stories else {}
    if captions:
        settings = without_story_metrics(settings)
        systems = find_systems([str(path) for path in captions], id_key=settings.id_key, caption_key=settings.caption_key)
        for evaluation in evaluate(prepare(systems, settings), settings):
            evaluation.write()
            row = captions[evaluation.system.source]
            measured.setdefault(row, []).append(evaluation.document)
            print(f"magic: {row}: {evaluation.system.source}, scores in {evaluation.folder}", file=sys.stderr)
    return measured


def _tell_left_out(located: Located, elsewhere: Sequence[Path], tables: Sequence[PaperTable]) -> None:
    if located.empty:
        print(f"magic: runs without a text yet, left out: {', '.join(map(str, located.empty))}", file=sys.stderr)
    if located.unknown:
        named = ", ".join(map(str, located.unknown))
        print(f"magic: of no known row, left out (name one with --row ROW=FILE): {named}", file=sys.stderr)
    if elsewhere:
        print(f"magic: rows of other tables than {_numbers(tables)}, left out: {', '.join(map(str, elsewhere))}", file=sys.stderr)


def _numbers(tables: Sequence[PaperTable]) -> str:
    return ", ".join(table.number for table in tables)
