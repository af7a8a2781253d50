"""Chooses the folder for a system's scores, so that they never overwrite those of another system."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from magic_cli.data.json_files import read_growing_lines
from magic_cli.data.paths import expanded
from magic_cli.data.run_files import METRICS, PER_ITEM, PREDICTIONS, read_scores
from magic_cli.data.system import System
from magic_cli.errors import MagicError, SettingsError
from magic_cli.evaluation.settings import ScoringSettings
from magic_cli.metrics.base import Corpus


def output_folder(system: System, corpus: Corpus, settings: ScoringSettings, num_systems: int) -> Path:
    """The run folder itself, or ``output``, or a folder named after the file, with a hash of texts and settings."""
    name = system.name.replace("/", "-")
    if settings.output:
        folder = expanded(settings.output, "output")
        return folder / name if num_systems > 1 else folder
    if system.manifest is not None:
        return system.source if system.rank in (None, 1) else system.source / f"image_{system.rank}"
    return Path("runs", "evaluate", f"{name}-{hashlib.sha256(f'{digest(corpus)}{_how(settings)}'.encode()).hexdigest()[:8]}")


def _how(settings: ScoringSettings) -> str:
    """All settings that can change the scores of the same captions."""
    how: list[Any] = [settings.metrics.described(), asdict(settings.bootstrap), settings.run.dtype.value]
    if settings.metrics.needs_images():
        how.append({key: value for key, value in vars(settings.image_text_model).items() if key != "recommended"})
        if settings.images:
            how.append(str(expanded(settings.images, "images").resolve()))
    return json.dumps(how, sort_keys=True, default=str)


_AT_ONCE = 10_000


def digest(corpus: Corpus) -> str:
    """SHA-256 of the ids, captions and references that are scored."""
    found = hashlib.sha256(b"[")
    for number, column in enumerate((corpus.ids, corpus.captions, corpus.references)):
        found.update(b", [" if number else b"[")
        for start in range(0, len(column), _AT_ONCE):  # as one text, a million items would take a gigabyte
            found.update((", " if start else "").encode() + json.dumps(column[start : start + _AT_ONCE])[1:-1].encode())
        found.update(b"]")
    for answers in corpus.answers:
        found.update(f", {json.dumps([answer.facts for answer in answers])}".encode())
    found.update(b"]")
    return found.hexdigest()


def image_digest(corpus: Corpus) -> str:
    """SHA-256 of the paths of all images that are scored."""
    return hashlib.sha256(
        json.dumps([file and str(file.resolve()) for file in corpus.images]).encode(errors="surrogateescape")
    ).hexdigest()


def owner(system: System) -> str:
    """The system that a metrics.json belongs to: its file or folder, and for stories the rank of their images."""
    place = str(system.source.resolve())
    return place if system.rank is None else f"{place}, image {system.rank}"


def check_folder(folder: Path, system: System, corpus: Corpus) -> None:
    """Make the folder for a system's scores and check that it can be written, so that a long evaluation is not lost.

    Raises:
        MagicError: It holds scores or captions of another system, or cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(0, "no permission")
    except OSError as error:
        raise unwritable(folder, error) from error
    earlier = read_earlier(folder)
    read_earlier_items(folder)  # reports damage before anything is scored
    source = system.source.resolve()
    if folder.resolve() == source or source in folder.resolve().parents:  # the system's own run folder, which may have been moved
        return
    if (folder / PREDICTIONS).exists() and source != (folder / PREDICTIONS).resolve():
        raise SettingsError(
            f"output={folder}: is the run folder of other captions than {system.source}; set --output to another folder"
        )
    if earlier is None or earlier["identity"]["items"] == digest(corpus):
        return
    theirs = earlier["identity"].get("owner") or str(Path(str(earlier.get("source"))).resolve())
    if theirs != owner(system):
        raise SettingsError(
            f"output={folder}: holds the scores of {theirs}, not of {system.source}; set --output to another folder, or delete {folder / METRICS}"
        )


def read_earlier(folder: Path) -> dict[str, Any] | None:
    """The metrics.json of an earlier evaluation; None: there is none, or its ``identity`` differs.

    Raises:
        MagicError: It is damaged.
    """
    file = folder / METRICS
    if not file.is_file():
        return None
    remedy = "delete it, or set --output to another folder"
    earlier = read_scores(file, remedy=remedy, needs=["identity", "metrics", "tools", "settings", "not_run"])
    if "items" not in earlier["identity"]:
        raise MagicError(f"output={file}: is not a metrics.json of `magic evaluate`; {remedy}")
    return earlier


def read_earlier_items(folder: Path) -> list[dict[str, Any]]:
    """The records in per_item.jsonl of an earlier evaluation; empty if there was none.

    Raises:
        MagicError: It is damaged.
    """
    file, remedy = folder / PER_ITEM, "delete it, or set --output to another folder"
    records = read_growing_lines(file, setting="output", hint=remedy)[0] if file.is_file() else []
    for number, record in enumerate(records, start=1):
        if not isinstance(record.get("id"), str):
            raise MagicError(f"{file} record {number}: has no id; {remedy}")
    return records


def unwritable(folder: Path, error: OSError) -> MagicError:
    """The message for a folder that cannot be written."""
    return MagicError(f"output={folder}: cannot be written ({error.strerror}); set --output to another folder")
