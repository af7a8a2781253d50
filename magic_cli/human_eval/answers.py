"""The answer files that annotators return: checked against the key, then one array of scores.

Whatever is wrong with a file is refused with its name and, where one is to blame, the title.
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
from magic_cli.human_eval.aspects import ASPECTS, HIGHEST, LOWEST, aspects_asked
from magic_cli.human_eval.forms import question_name
from magic_cli.terminal.wording import counted

ANSWERS_KIND = "magic human-eval answers 1"
_HINT = "name the files that the forms exported; ask the annotator to export and send it again"


@dataclass(frozen=True)
class Ratings:
    """All scores of a study."""

    systems: tuple[str, ...]
    items: tuple[str, ...]
    """Ids of the titles."""
    annotators: tuple[int, ...]
    """Numbers of the forms that came back."""
    scores: np.ndarray
    """(R, N, S, A) float64: annotators, titles, systems, aspects; NaN where there is no answer."""
    num_open: int
    """Questions that were asked and not answered."""


def read_ratings(paths: Sequence[Path], key: Mapping[str, Any], *, accept_incomplete: bool) -> Ratings:
    """Read and unblind all answer files.

    Args:
        paths: The files that came back, at least one.
        key: A sound key.json.
        accept_incomplete: Take files with open questions.

    Raises:
        MagicError: A file is damaged, of another study, of a form that another file answers too, out of range or incomplete.
    """
    systems = tuple(sorted(key["systems"]))
    cards = next(iter(key["forms"].values()))["cards"]
    items = tuple(sorted(card["id"] for card in cards))
    scores = np.full((len(paths), len(items), len(systems), len(ASPECTS)), np.nan)
    seen: dict[str, Path] = {}
    annotators, num_open = [], 0
    for row, path in enumerate(paths):
        document = _read(path, key)
        form = document["form"]
        if form in seen:
            raise MagicError(
                f"{path}: answers the same form as {seen[form]} (annotator {document['annotator']}); keep one of the two"
            )
        seen[form] = path
        asked = _questions(key["forms"][form])
        _check_answers(path, document, asked)
        missing = [name for name in asked if name not in document["answers"]]
        if missing and not accept_incomplete:
            title = asked[missing[0]].title
            remedy = "ask for the rest, or set incomplete=accept"
            raise MagicError(
                f"{path}: {len(missing)} of {counted(len(asked), 'question')} {'is' if len(missing) == 1 else 'are'} open, the first about {title!r}; {remedy}"
            )
        num_open += len(missing)
        annotators.append(document["annotator"])
        for name, score in document["answers"].items():
            question = asked[name]
            scores[row, items.index(question.item), systems.index(question.system), question.aspect] = score
    return Ratings(systems, items, tuple(annotators), scores, num_open)


@dataclass(frozen=True)
class _Question:
    item: str
    title: str
    system: str
    aspect: int
    """Number in ``ASPECTS``."""


def _questions(form: Mapping[str, Any]) -> dict[str, _Question]:
    """What every question of a form is about, by its name, in the form's order."""
    return {
        question_name(number, letter, aspect.key): _Question(card["id"], card["title"], system, ASPECTS.index(aspect))
        for number, card in enumerate(form["cards"], start=1)
        for letter, system in card["letters"].items()
        for aspect in aspects_asked(card["photo"])
    }


def _read(path: Path, key: Mapping[str, Any]) -> Mapping[str, Any]:
    document = read_json(path, setting="files", hint=_HINT)
    if not isinstance(document, Mapping) or document.get("kind") != ANSWERS_KIND:
        raise MagicError(f"{path}: is no file of answers; {_HINT}")
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


def _check_answers(path: Path, document: Mapping[str, Any], asked: Mapping[str, _Question]) -> None:
    for name, score in document["answers"].items():
        if name not in asked:
            raise MagicError(f"{path}: is damaged (its form has no question {name[:60]!r}); {_HINT}")
        if type(score) is not int or not LOWEST <= score <= HIGHEST:
            raise MagicError(
                f"{path}: {name} (about {asked[name].title!r}) must be a whole number from {LOWEST} to {HIGHEST}, got {repr(score)[:60]}; {_HINT}"
            )
    if document.get("checksum") != checksum(document, asked):
        raise MagicError(f"{path}: was changed after the form exported it (its checksum does not fit); {_HINT}")


def checksum(document: Mapping[str, Any], names: Sequence[str] | Mapping[str, Any]) -> str:
    """CRC-32 of the answers, as form.js writes it.

    Args:
        document: Answer file.
        names: All questions of its form, in their order.
    """
    given = [f"{name}={document['answers'][name]}" for name in names if name in document["answers"]]
    text = "\n".join([document["study"], document["form"], *given])
    return f"{zlib.crc32(text.encode()):08x}"
