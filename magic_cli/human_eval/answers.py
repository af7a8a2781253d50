"""Reads the answer files that annotators return, checks them against the key, and makes one array of scores or preferences.

A faulty file is refused; the message names the file and, if it can, the title.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from magic_cli.data.json_files import read_json
from magic_cli.errors import MagicError
from magic_cli.human_eval.aspects import PAIRS, STORIES, TIE, Judging
from magic_cli.human_eval.forms import Question, questions
from magic_cli.terminal.wording import counted

ANSWERS_KIND = "magic human-eval answers 1"
_HINT = "name the files that the forms exported; ask the annotator to export and send it again"


@dataclass(frozen=True)
class Returned:
    """The content of a study's answer files."""

    annotators: tuple[int, ...]
    """The number of each file's form."""
    answers: tuple[tuple[tuple[Question, int], ...], ...]
    """For each file, the questions and the numbers that were given."""
    num_open: int
    """How many questions have no answer."""


@dataclass(frozen=True)
class Ratings:
    """All scores of a study of stories."""

    systems: tuple[str, ...]
    items: tuple[str, ...]
    """Ids of the titles."""
    annotators: tuple[int, ...]
    """The number of each returned form."""
    scores: np.ndarray
    """(R, N, S, A) float64: annotators, titles, systems, aspects; NaN without an answer."""
    num_open: int
    """How many questions have no answer."""


@dataclass(frozen=True)
class Preferences:
    """All answers of a study of pairs."""

    systems: tuple[str, str]
    """The names of the two systems."""
    items: tuple[str, ...]
    annotators: tuple[int, ...]
    """The number of each returned form."""
    preferred: np.ndarray
    """(R, N, A) float64: 1: the first system is better; 0: a tie; -1: the second is better; NaN without an answer."""
    num_open: int
    """How many questions have no answer."""


def read_ratings(paths: Sequence[Path], key: Mapping[str, Any], *, accept_incomplete: bool) -> Ratings:
    """Read and unblind all answer files of a study of stories; arguments and errors as in ``read_answers``."""
    returned = read_answers(paths, key, STORIES, accept_incomplete=accept_incomplete)
    systems, items = tuple(sorted(key["systems"])), _items(key)
    scores = np.full((len(paths), len(items), len(systems), len(STORIES.aspects)), np.nan)
    for row, answers in enumerate(returned.answers):
        for question, score in answers:
            scores[row, items.index(question.item), systems.index(question.system), question.aspect] = score
    return Ratings(systems, items, returned.annotators, scores, returned.num_open)


def read_preferences(paths: Sequence[Path], key: Mapping[str, Any], *, accept_incomplete: bool) -> Preferences:
    """Read and unblind all answer files of a study of pairs; arguments and errors as in ``read_answers``."""
    returned = read_answers(paths, key, PAIRS, accept_incomplete=accept_incomplete)
    first, second = key["systems"]
    items = _items(key)
    preferred = np.full((len(paths), len(items), len(PAIRS.aspects)), np.nan)
    for row, answers in enumerate(returned.answers):
        for question, choice in answers:
            for_a = TIE - choice  # 1: A is better; -1: B is
            preferred[row, items.index(question.item), question.aspect] = for_a if question.system == first else -for_a
    return Preferences((first, second), items, returned.annotators, preferred, returned.num_open)


def _items(key: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(sorted(card["id"] for card in next(iter(key["forms"].values()))["cards"]))


def read_answers(paths: Sequence[Path], key: Mapping[str, Any], judging: Judging, *, accept_incomplete: bool) -> Returned:
    """Read all answer files, with the meaning of each question.

    Args:
        paths: The returned files, at least one.
        key: A checked key.json.
        judging: The kind of study.
        accept_incomplete: Accept files with open questions.

    Raises:
        MagicError: A file is damaged, incomplete, of another study, answers a form twice, or has a score out of range.
    """
    seen: dict[str, Path] = {}
    annotators, all_answers, num_open = [], [], 0
    for path in paths:
        document = _read(path, key)
        form = document["form"]
        if form in seen:
            raise MagicError(
                f"{path}: answers the same form as {seen[form]} (annotator {document['annotator']}); keep one of the two"
            )
        seen[form] = path
        asked = questions(key["forms"][form], judging)
        _check_answers(path, document, asked, judging)
        missing = [name for name in asked if name not in document["answers"]]
        if missing and not accept_incomplete:
            title = asked[missing[0]].title
            remedy = "ask for the rest, or set incomplete=accept"
            raise MagicError(
                f"{path}: {len(missing)} of {counted(len(asked), 'question')} {'is' if len(missing) == 1 else 'are'} open, the first about {title!r}; {remedy}"
            )
        num_open += len(missing)
        annotators.append(document["annotator"])
        all_answers.append(tuple((asked[name], value) for name, value in document["answers"].items()))
    return Returned(tuple(annotators), tuple(all_answers), num_open)


def _read(path: Path, key: Mapping[str, Any]) -> Mapping[str, Any]:
    document = read_json(path, setting="files", hint=_HINT)
    if not isinstance(document, Mapping) or document.get("kind") != ANSWERS_KIND:
        raise MagicError(f"{path}: is not a file of answers; {_HINT}")
    if document.get("study") != key["study"]:
        raise MagicError(
            f"{path}: belongs to another study ({str(document.get('study'))[:60]}) than the key ({key['study']}); score it with its own key.json"
        )
    form = key["forms"].get(document.get("form")) if isinstance(document.get("form"), str) else None
    if form is None or form["annotator"] != document.get("annotator"):
        raise MagicError(
            f"{path}: is damaged (form {str(document.get('form'))[:60]!r} of annotator {str(document.get('annotator'))[:60]} is not in the key); {_HINT}"
        )
    if not isinstance(document.get("answers"), Mapping):
        raise MagicError(f"{path}: is damaged (it has no answers); {_HINT}")
    return document


def _check_answers(path: Path, document: Mapping[str, Any], asked: Mapping[str, Question], judging: Judging) -> None:
    for name, score in document["answers"].items():
        if name not in asked:
            raise MagicError(f"{path}: is damaged (its form has no question {name[:60]!r}); {_HINT}")
        if type(score) is not int or not judging.lowest <= score <= judging.highest:
            raise MagicError(
                f"{path}: {name} (about {asked[name].title!r}) must be a whole number from {judging.lowest} to {judging.highest}, got {repr(score)[:60]}; {_HINT}"
            )
    if document.get("checksum") != checksum(document, asked):
        raise MagicError(f"{path}: was changed after the form exported it (its checksum does not fit); {_HINT}")


def checksum(document: Mapping[str, Any], names: Sequence[str] | Mapping[str, Any]) -> str:
    """CRC-32 of the answers, computed as in form.js.

    Args:
        document: The answer file.
        names: All questions of its form, in order.
    """
    given = [f"{name}={document['answers'][name]}" for name in names if name in document["answers"]]
    text = "\n".join([document["study"], document["form"], *given])
    return f"{zlib.crc32(text.encode()):08x}"
