"""Reads the JSON documents of a run folder and checks their form. A damaged one is reported in one line, with the remedy."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from magic_cli.data.json_files import LONGEST_LINE, read_json_object
from magic_cli.data.json_text import JSONFault, parse_object
from magic_cli.data.paths import LOCK
from magic_cli.data.text_files import named, read_text
from magic_cli.errors import MagicError

METRICS, PER_ITEM, COMPARISON = "metrics.json", "per_item.jsonl", "comparison.json"
"""The files that an evaluation writes into a run folder."""
MANIFEST, PREDICTIONS, FAILURES = "manifest.json", "predictions.jsonl", "failures.jsonl"
TRACE, SETTINGS = "trace.jsonl", "settings.yaml"
"""The files that the run itself writes there."""
REPORT = "report.html"
"""The page of a single run."""

Form = tuple[str, Callable[[Any], bool]]
"""The allowed form of a value in words, and its test."""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _all(test: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(map(test, value.values()))


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_session(value: Any) -> bool:
    if not isinstance(value, dict) or not _is_number(value.get("seconds", 0)):
        return False
    return "device" not in value or (isinstance(value["device"], str) and type(value.get("threads")) is int)


def _is_score(value: Any) -> bool:
    return isinstance(value, dict) and all(test(value[key]) for key, test in _SCORE.items() if key in value)


def _is_shard(value: Any) -> bool:
    if not isinstance(value, dict) or not all(type(value.get(key)) is int for key in ("part", "parts", "items")):
        return False
    return 1 <= value["part"] <= value["parts"] and value["items"] >= 0 and isinstance(value.get("ids_sha256"), str)


def _is_batch_size(value: Any) -> bool:
    if not isinstance(value, dict) or type(value.get("chosen")) is not int or value["chosen"] < 1:
        return False
    needed = value.get("bytes_needed")
    if not isinstance(needed, dict) or not all(size.isdecimal() and type(number) is int for size, number in needed.items()):
        return False
    return not needed or type(value.get("bytes_allowed")) is int


_TEXT: Form = ("a text", lambda value: isinstance(value, str))
_OBJECT: Form = ("an object", _is_object)
_OBJECTS: Form = ("objects by name", _all(_is_object))
_COUNTS: Form = ("whole numbers by name", _all(lambda value: type(value) is int))
_SCORE: Mapping[str, Callable[[Any], bool]] = {
    "value": lambda value: value is None or _is_number(value),
    "interval": lambda value: value is None or (isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))),
    "label": lambda value: isinstance(value, str),
    "scale": _is_number,
    "digits": lambda value: type(value) is int and 0 <= value <= 17,
    "higher_is_better": lambda value: value is None or isinstance(value, bool),
}
_MANIFEST: Mapping[str, Form] = {
    "identity": _OBJECT,
    "status": _TEXT,
    "counts": _COUNTS,
    "sessions": (
        "a list of objects with each start's seconds, device and threads",
        lambda value: isinstance(value, list) and all(map(_is_session, value)),
    ),
    "models": _OBJECTS,
    "stories_by_rank": _COUNTS,
    "image_files": _OBJECT,
    "steps": ("a whole number", lambda value: type(value) is int),
    "shard": ("an object with part, parts, items and ids_sha256, or absent", _is_shard),
    "batch_size": ("an object with what run.batch_size=auto found, or absent", _is_batch_size),
}
_SCORES: Mapping[str, Form] = {
    "n": ("a whole number", lambda value: type(value) is int),
    "metrics": ("scores by name", _all(_is_score)),
    "not_run": ("reasons by name", _all(lambda value: isinstance(value, str))),
    "identity": _OBJECT,
    "tools": _OBJECT,
    "settings": _OBJECT,
    "bootstrap": (
        "an object with the confidence of the intervals",
        lambda value: isinstance(value, dict) and _is_number(value.get("confidence", 0.95)),
    ),
    "run": ("an object, or null", lambda value: value is None or isinstance(value, dict)),
}


def is_run(path: Path) -> bool:
    """Whether a path is the folder of a run of texts, even if it was killed before its first one. Other commands have manifests, too."""
    has = {name for name in (MANIFEST, PREDICTIONS, FAILURES, SETTINGS) if (path / name).is_file()}
    return {MANIFEST, PREDICTIONS} <= has or {MANIFEST, FAILURES, SETTINGS} <= has


def has_predictions(folder: Path) -> bool:
    """Whether a run has written at least one text, and not only the beginning of its line."""
    return (folder / PREDICTIONS).is_file() and _begins_with_line(folder / PREDICTIONS)


def without_texts(folder: Path) -> str | None:
    """What is wrong with predictions.jsonl if a run has begun in a folder and has no text yet; None: there is one, or no run.

    A run that is killed early leaves an empty folder, a lock, a manifest, or the beginning of its first line.
    """
    if not folder.is_dir() or has_predictions(folder):
        return None
    if (file := folder / PREDICTIONS).is_file():
        return "ends within its first line" if file.stat().st_size else "is empty"
    has_begun = any((folder / name).exists() for name in (MANIFEST, LOCK)) or next(folder.iterdir(), None) is None
    return "is not there" if has_begun else None


def refuse_without_texts(folder: Path, setting: str = "") -> None:
    """Refuse a folder in which a run has begun that has no text yet.

    Args:
        folder: The folder.
        setting: What the user calls it, for the error message; "": it is a plain word of the command line.

    Raises:
        MagicError: It is such a folder.
    """
    if what := without_texts(folder):
        raise MagicError(
            f"{named(setting, folder)}: its {PREDICTIONS} {what}: if this is a run, it has no text yet; start its command again"
        )


def _begins_with_line(file: Path) -> bool:
    """Whether the first line that is not empty is whole. Of the last line only the line break may be missing.

    Carriage returns alone end no lines here; whoever reads such a file says so.
    """
    with file.open("rb") as stream:
        for line in iter(lambda: stream.readline(LONGEST_LINE + 1), b""):
            if line.strip():
                return line.endswith(b"\n") or len(line) > LONGEST_LINE or b"\r" in line.strip() or _is_whole(line)
    return False


def _is_whole(line: bytes) -> bool:
    try:
        parse_object(line)
    except JSONFault:
        return False
    return True


def read_manifest(file: Path, *, remedy: str, needs: Collection[str] = ()) -> dict[str, Any]:
    """The manifest.json of a run.

    Args:
        file: The file.
        remedy: What the user can do if the file is damaged.
        needs: Keys that must be present.

    Raises:
        MagicError: The file is damaged.
    """
    return _read(file, _MANIFEST, remedy, needs)


def read_scores(file: Path, *, remedy: str, needs: Collection[str] = ()) -> dict[str, Any]:
    """The metrics.json of an evaluation, with arguments as in ``read_manifest``."""
    document = _read(file, _SCORES, remedy, needs)
    if "mean_length" in document.get("metrics", {}):
        document["metrics"]["mean_length"]["higher_is_better"] = None  # magic 0.3.0 and older wrote true
    return document


def read_settings(file: Path, *, remedy: str) -> dict[str, Any]:
    """The settings.yaml of a run.

    Raises:
        MagicError: The file is damaged.
    """
    import yaml

    try:
        settings = yaml.safe_load(read_text(file, setting="", hint=remedy))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise MagicError(f"{file}: not valid YAML ({' '.join(str(error).split())[:160]}); {remedy}") from error
    if not isinstance(settings, dict) or not isinstance(settings.get("run", {}), dict):
        raise MagicError(f"{file}: holds no settings by name, but {str(settings)[:60]!r}; {remedy}")
    return settings


def _read(file: Path, forms: Mapping[str, Form], remedy: str, needs: Collection[str]) -> dict[str, Any]:
    document = read_json_object(file, remedy=remedy)
    for key in needs:
        if key not in document:
            raise MagicError(f"{file}: has no {key}; {remedy}")
    for key, (what, is_one) in forms.items():
        if key in document and not is_one(document[key]):
            raise MagicError(f"{file}: {key} must be {what}, got {str(document[key])[:60]!r}; {remedy}")
    return document
