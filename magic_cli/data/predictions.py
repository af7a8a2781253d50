"""Captions that any tool has written: one reader for run folders, JSON lists, JSON objects and JSON lines.

The kind of file is told by its content, not by its name; data/README.md lists the forms.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from magic_cli.data.json_files import read_json, read_records
from magic_cli.errors import MagicError

ID_KEYS = ("id", "image_id", "image_name", "file_name", "filename", "image", "image_path", "img_id", "cocoid")
CAPTION_KEYS = ("caption", "prediction", "pred", "generated_caption", "hypothesis", "text")
REFERENCE_KEYS = ("references", "captions", "refs", "gts")
IMAGE_KEYS = ("image", "image_path", "image_name", "file_name", "filename")
_LISTS = ("annotations", "predictions", "results", "data", "images")

_HINT = "give a run folder, a released MAGIC file, COCO results or JSON lines (data/README.md shows each)"


@dataclass(frozen=True)
class System:
    """One captioner's output."""

    name: str
    source: Path
    captions: dict[str, str]
    """Caption of each id, in the file's order."""
    references: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """References of the ids for which the file has them."""
    images: dict[str, str] = field(default_factory=dict)
    """Image file of the ids for which the file names one, as it stands there."""
    manifest: dict[str, Any] | None = None
    """manifest.json of a run folder."""
    failed: int = 0
    """Images of a run folder that have no caption."""


def read_system(path: Path, *, id_key: str | None = None, caption_key: str | None = None) -> System:
    """Read one captioner's output.

    Args:
        path: Run folder or file.
        id_key: Key of an item's id; None: the first of ``ID_KEYS`` that the record has.
        caption_key: Key of the caption; None: the one of ``CAPTION_KEYS`` that the record has.

    Raises:
        MagicError: Not such a file, a caption is missing or no text, an id stands twice; names file and record.
    """
    if path.is_dir():
        return _read_run(path)
    document = read_records(path, setting="systems", hint=_HINT)
    captions: dict[str, str] = {}
    references: dict[str, tuple[str, ...]] = {}
    images: dict[str, str] = {}
    for number, record in enumerate(records_of(document, path), start=1):
        place = f"{path} record {number}"
        item = _id(record, place, id_key)
        if item in captions:
            raise MagicError(f"{place}: the id {item!r} stands twice; keep one caption for each image")
        captions[item] = _caption(record, place, item, caption_key)
        if key := _first(record, REFERENCE_KEYS):
            references[item] = reference_texts(record[key], f"{place} (id {item!r}), {key}")
        if (key := _first(record, IMAGE_KEYS)) and isinstance(record[key], str):
            folder = record.get("file_path")  # of the released files: the image's folder
            images[item] = f"{folder}/{record[key]}" if isinstance(folder, str) and folder else record[key]
    if not captions:
        raise MagicError(f"{path}: holds no captions; {_HINT}")
    return System(system_name(path), path, captions, references, images)


def _read_run(folder: Path) -> System:
    lines = folder / "predictions.jsonl"
    if not lines.is_file():
        raise MagicError(f"systems={folder}: no predictions.jsonl in this folder, so it is no run folder; {_HINT}")
    manifest = None
    if (folder / "manifest.json").is_file():
        manifest = read_json(folder / "manifest.json", setting="systems", hint=_HINT)
    system = read_system(lines, id_key="id", caption_key="caption")
    failures = folder / "failures.jsonl"
    failed = [json.loads(line) for line in failures.read_text(encoding="utf-8").splitlines()] if failures.is_file() else []
    return System(
        name=folder.resolve().name,
        source=folder,
        captions=system.captions,
        references=system.references,
        images=system.images,
        manifest=manifest,
        failed=sum(not failure.get("skipped") for failure in failed),
    )


def records_of(document: Any, path: Path) -> Iterator[Mapping[str, Any]]:
    """The records of a list, of an object that holds one, or of an object ``{id: caption or references}``.

    Raises:
        MagicError: The document has none of these forms.
    """
    if isinstance(document, Mapping):
        lists = [key for key in _LISTS if isinstance(document.get(key), list)]
        if lists:
            document = document[lists[0]]
        elif all(isinstance(value, str) for value in document.values()):
            document = [{"id": key, "caption": value} for key, value in document.items()]
        elif all(isinstance(value, list) for value in document.values()):
            document = [{"id": key, "references": value} for key, value in document.items()]
        else:
            raise MagicError(f"{path}: a JSON object of an unknown form (keys {_some(document)}); {_HINT}")
    if not isinstance(document, list):
        raise MagicError(f"{path}: holds {type(document).__name__}, not a list of records; {_HINT}")
    for number, record in enumerate(document, start=1):
        if not isinstance(record, Mapping):
            raise MagicError(f"{path} record {number}: must be a JSON object, got {str(record)[:60]!r}")
        yield record


def _id(record: Mapping[str, Any], place: str, wanted: str | None) -> str:
    key = wanted if wanted is not None else _first(record, ID_KEYS)
    if key is None or key not in record:
        looked_for = wanted or ", ".join(ID_KEYS)
        raise MagicError(f"{place}: no id (looked for {looked_for}; the record has {_some(record)}); set id_key=...")
    value = record[key]
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise MagicError(f"{place}: {key} must be a text or a whole number, got {str(value)[:60]!r}")
    return str(value)


def record_id(record: Mapping[str, Any], place: str) -> str:
    """The id of a record of references.

    Raises:
        MagicError: It has none.
    """
    return _id(record, place, None)


def _caption(record: Mapping[str, Any], place: str, item: str, wanted: str | None) -> str:
    keys = [wanted] if wanted is not None else [key for key in CAPTION_KEYS if key in record]
    if len(keys) > 1:
        raise MagicError(f"{place} (id {item!r}): has {' and '.join(keys)}; say which is the caption: caption_key={keys[-1]}")
    if not keys or keys[0] not in record:
        looked_for = wanted or ", ".join(CAPTION_KEYS)
        raise MagicError(f"{place} (id {item!r}): no caption (looked for {looked_for}; the record has {_some(record)}); set caption_key=...")
    value = record[keys[0]]
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, str):
        found = f"{len(value)} of them" if isinstance(value, list) else repr(value)
        raise MagicError(f"{place} (id {item!r}): {keys[0]} must be one caption, got {found}")
    return value


def reference_texts(value: Any, place: str) -> tuple[str, ...]:
    """References of one item, given as a text, a list of texts, or a list of ``{"caption"}`` or ``{"raw"}``.

    Raises:
        MagicError: Anything else; names the place.
    """
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts:
        raise MagicError(f"{place}: must be a list of captions, got {str(value)[:60]!r}")
    texts = [text.get("caption", text.get("raw")) if isinstance(text, Mapping) else text for text in texts]
    for text in texts:
        if not isinstance(text, str):
            raise MagicError(f"{place}: every reference must be a text, got {str(text)[:60]!r}")
    return tuple(texts)


def system_name(path: Path) -> str:
    """What tables call a file: its name without ``.gz`` and the suffix of its kind.

    >>> system_name(Path("coco/magic_result.json.gz"))
    'magic_result'
    """
    name = Path(path.name.removesuffix(".gz"))
    return name.stem if name.suffix in (".json", ".jsonl", ".tsv", ".csv", ".txt") else name.name


def _first(record: Mapping[str, Any], keys: tuple[str, ...]) -> str | None:
    return next((key for key in keys if record.get(key) is not None), None)


def _some(record: Mapping[str, Any]) -> str:
    keys = list(record)
    return ", ".join(map(str, keys[:8])) + (" ..." if len(keys) > 8 else "")
