"""The rows of table 3: stories of runs and released files, by rank of their image, and stories by people."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from magic_cli.data.system import System
from magic_cli.evaluation.corpora import find_systems
from magic_cli.evaluation.evaluate import Evaluation, evaluate, prepare
from magic_cli.evaluation.results import summarize
from magic_cli.evaluation.settings import ScoringSettings
from magic_cli.evaluation.stories import TOP_RANK, for_stories, human_systems, of_rank, ranks_of, with_retrieved
from magic_cli.metrics.repetition import Repetition

HUMAN, MAGIC, MAGIC_MEAN, MAGIC_EVERY_NGRAM = "story/human", "story/magic", "story/magic_mean", "story/magic_every_ngram"


def measure_stories(rows: dict[Path, str], settings: ScoringSettings) -> dict[str, list[dict[str, Any]]]:
    """Score story files and runs side by side, and the stories by people in the first one; writes their metrics.json.

    Args:
        rows: Row id of each file or run folder.
        settings: How to score. If the user chose no metrics, stories get the four of the paper; else those that apply.

    Returns:
        The metrics.json documents by row id. Stories of MAGIC also give the rows for all images and for every n-gram.

    Raises:
        MagicError: Files cannot be read, or hold no stories.
    """
    settings = for_stories(settings)
    systems = find_systems([str(path) for path in rows], id_key=settings.id_key, caption_key=settings.caption_key)
    by_source = {path.resolve(): row for path, row in rows.items()}
    parts = [(by_source[system.source.resolve()], part) for system in systems for part in _parts(system, by_source)]
    if HUMAN not in rows.values() and (tops := [part for _, part in parts if any(item.references for item in part.items)]):
        parts.append((HUMAN, human_systems(tops[:1])[0]))
    evaluations = evaluate(prepare(with_retrieved([part for _, part in parts], settings), settings), settings)
    measured: dict[str, list[dict[str, Any]]] = {}
    for (row, part), evaluation in zip(parts, evaluations, strict=True):
        evaluation.write()
        print(f"magic: {row}: {part.name}, scores in {evaluation.folder}", file=sys.stderr)
        if part.rank in (None, TOP_RANK):
            measured.setdefault(row, []).append(evaluation.document)
        if row == MAGIC and part.rank is not None:
            measured.setdefault(MAGIC_MEAN, []).append(evaluation.document)
            if part.rank == TOP_RANK:
                measured[MAGIC_EVERY_NGRAM] = [_every_ngram(evaluation)]
    return measured


def _parts(system: System, rows: dict[Path, str]) -> list[System]:
    """MAGIC's stories split by the rank of their image; of other methods only those of the best image."""
    ranks = ranks_of(system)
    if not ranks:
        return [system]
    return [of_rank(system, rank) for rank in (ranks if rows[system.source.resolve()] == MAGIC else ranks[:1])]


def _every_ngram(evaluation: Evaluation) -> dict[str, Any]:
    metric = Repetition(last_ngram=True)
    [scores] = metric.score([evaluation.corpus])
    coverage = replace(evaluation.coverage, notes=())  # the notes are with the stories' other row
    return summarize(
        replace(evaluation, coverage=coverage), scores, intervals={}, not_run={}, facts={"tools": {metric.name: metric.facts()}}
    )
