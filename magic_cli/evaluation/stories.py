"""Repetition figures of the authors' released story files (table 3). Other story metrics need models and are not here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from magic_cli.data.json_files import read_json
from magic_cli.data.predictions import System, system_name
from magic_cli.errors import MagicError
from magic_cli.evaluation.corpora import Coverage
from magic_cli.evaluation.results import summarize
from magic_cli.metrics.base import Corpus
from magic_cli.metrics.repetition import Repetition

HUMAN, MAGIC, MAGIC_EVERY_NGRAM = "story/human", "story/magic", "story/magic_every_ngram"
_TOP_IMAGE = "0"
_HINT = (
    'give a released story file: {"evaluation_result": [{"reference_continuation_text", "generated_result": {"0": {...}}}, ...]}'
)


def measure_stories(rows: dict[Path, str]) -> dict[str, list[dict[str, Any]]]:
    """rep-n and diversity of story files, counted as the released code counts, and of the humans' stories in the first file.

    Args:
        rows: Row id of each released story file.

    Returns:
        Documents of metrics.json by row id. A file of MAGIC also gives the row in which every n-gram counts.

    Raises:
        MagicError: A file is no story file.
    """
    measured: dict[str, list[dict[str, Any]]] = {}
    for number, (path, row) in enumerate(rows.items()):
        written, human = read_stories(path)
        measured.setdefault(row, []).append(_document(path, written))
        if row == MAGIC:
            measured.setdefault(MAGIC_EVERY_NGRAM, []).append(_document(path, written, last_ngram=True))
        if number == 0 and HUMAN not in rows.values():
            measured[HUMAN] = [_document(path, human)]
    return measured


def read_stories(path: Path) -> tuple[list[str], list[str]]:
    """The stories that were generated (for the best image, if there are several) and those that people wrote, without titles.

    Raises:
        MagicError: The file is no story file; names the record.
    """
    document = read_json(path, setting="story file", hint=_HINT)
    records = document.get("evaluation_result") if isinstance(document, dict) else None
    if not isinstance(records, list) or not records:
        raise MagicError(f"{path}: no evaluation_result with stories; {_HINT}")
    written, human = [], []
    for number, record in enumerate(records, start=1):
        try:
            texts = (record["generated_result"][_TOP_IMAGE]["generated_continuation_text"], record["reference_continuation_text"])
        except (KeyError, TypeError) as error:
            raise MagicError(f"{path} record {number}: not as expected (no {error}); {_HINT}") from error
        if not all(isinstance(text, str) for text in texts):
            raise MagicError(f"{path} record {number}: a story must be a text, got {str(texts)[:60]}; {_HINT}")
        written.append(texts[0])
        human.append(texts[1])
    return written, human


def _document(path: Path, stories: Sequence[str], *, last_ngram: bool = False) -> dict[str, Any]:
    ids = tuple(map(str, range(1, len(stories) + 1)))  # titles repeat
    corpus = Corpus(system_name(path), ids, tuple(stories), references=((),) * len(ids))
    metric = Repetition(last_ngram=last_ngram)
    [scores] = metric.score([corpus])
    return summarize(
        System(corpus.name, path, dict(zip(ids, stories, strict=True))), corpus, Coverage(len(ids), missing=0), scores,
        references=None, intervals={}, not_run={}, facts={"tools": {metric.name: metric.facts()}},
    )  # fmt: skip
