"""Reads captions from any tool: run folders, JSON lists, JSON objects and JSON lines.

The form is recognised by the content, not by the file's name; docs/formats.md lists the forms.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from magic_cli.data.answers import answers_of
from magic_cli.data.image_names import is_image_name
from magic_cli.data.json_files import GrowingLines, read_growing_lines, read_records, without_collection
from magic_cli.data.json_text import json_kind
from magic_cli.data.paths import ending, unpacked_name
from magic_cli.data.record_fields import (
    CAPTION_KEYS,
    ID_KEYS,
    REFERENCE_KEYS,
    column_word,
    first_key,
    item_id,
    one_text,
    several_texts,
)
from magic_cli.data.record_forms import listed_records
from magic_cli.data.record_images import guessed_image, named_image
from magic_cli.data.run_files import read_manifest, refuse_without_texts
from magic_cli.data.story_files import is_story_file, read_story_file
from magic_cli.data.system import Item, System
from magic_cli.errors import MagicError

_REMOVE_LINE = "remove the damaged line, and start the run's command again"
_HINT = "give a run folder, a released MAGIC file, COCO results or JSON lines (docs/formats.md shows each)"
_COLUMNS_HINT = "if the first line names columns, choose two with id_key=... and caption_key=..."


def read_system(path: Path, *, id_key: str | None = None, caption_key: str | None = None) -> System:
    """Read the output of one captioner.

    Args:
        path: Run folder or file.
        id_key: Key of an item's id; None: the first of ``ID_KEYS`` in the record. For run folders it is known.
        caption_key: Key of the caption; None: the one of ``CAPTION_KEYS`` in the record.

    Raises:
        MagicError: The file has another form, a caption is missing or not a text, or an id appears twice; names file and record.
    """
    if path.is_dir():
        return _read_run(path)
    columns = [key for key in (id_key, caption_key) if key is not None]
    document = read_records(path, setting="systems", hint=_HINT if columns else f"{_HINT}; {_COLUMNS_HINT}", columns=columns)
    if is_story_file(document):
        return read_story_file(document, path, system_name(path))
    return system_of(records_of(document, path, id_key=id_key, caption_key=caption_key), path, id_key, caption_key)


def system_of(
    records: Iterable[Mapping[str, Any]], path: Path, id_key: str | None, caption_key: str | None, *, is_own: bool = False
) -> System:
    """The system with these records. ``path`` is for messages; ``is_own``: captions of a run folder are never parsed as lists."""
    items: dict[str, Item] = {}
    keys: tuple[str, str] | None = None
    for number, record in enumerate(records, start=1):
        place = f"{path} record {number}"
        name = _id(record, place, id_key)
        if name in items:
            raise MagicError(f"{place}: the id {name!r} appears twice; keep one caption for each image")
        own = record.get(caption_key) if is_own and caption_key is not None else None
        text = own if isinstance(own, str) else _caption(record, place, name, caption_key)
        key, image = named_image(record) or (None, name if is_image_name(name) else None)
        if key is not None:
            keys = keys or (str(id_key or first_key(record, ID_KEYS)), key)
        items[name] = Item(
            name, text, _references(record, place, name),
            image=image,
            guessed_image=guessed_image(record) if image is None else None,
            image_sha256=record["image_sha256"] if is_own and isinstance(record.get("image_sha256"), str) else None,
            split=record["split"] if isinstance(record.get("split"), str) else None,
            **_story(record, place, name),
        )  # fmt: skip
    if not items:
        raise MagicError(f"{path}: holds no captions; {_HINT}")
    without = [item.id for item in items.values() if item.title is None]
    if without and len(without) < len(items):
        raise MagicError(f"{path} (id {without[0]!r}): no title, while others have one; add it, or leave the record out")
    return System(system_name(path), path, tuple(items.values()), keys=keys, ids_are_chosen=id_key is not None and not is_own)


def _references(record: Mapping[str, Any], place: str, item: str) -> tuple[str, ...]:
    key = first_key(record, REFERENCE_KEYS)
    if key is None or record[key] == []:  # a released file of images without references
        return ()
    return several_texts(record[key], f"{place} (id {item!r}), {key}")


def _story(record: Mapping[str, Any], place: str, item: str) -> dict[str, Any]:
    """The fields that only stories have, if the record is a story."""
    if record.get("title") is None or "story" not in record:
        return {}
    title = _title(record["title"], place, item)
    if type(record.get("rank")) is not int:
        return {"title": title}
    return {"title": title, "rank": record["rank"], "title_id": str(record.get("title_id", item))}


def _read_run(folder: Path) -> System:
    lines = folder / "predictions.jsonl"
    refuse_without_texts(folder, "systems")
    if not lines.is_file():
        within = [run.parent.name for run in sorted(folder.glob("*/predictions.jsonl"))]
        hint = (
            f"it holds {', '.join(within[:3])}{' ...' if within[3:] else ''}: name runs, as in '{folder}/*'" if within else _HINT
        )
        raise MagicError(f"systems={folder}: no predictions.jsonl in this folder, so it is no run folder; {hint}")
    growing = GrowingLines(lines, setting="systems", hint=_REMOVE_LINE)
    with without_collection():
        system = _system_of_run(growing, folder, lines)
    unfinished = growing.unfinished
    failures: list[dict[str, Any]] = []
    if (folder / "failures.jsonl").is_file():
        failures, unfinished_failures = read_growing_lines(folder / "failures.jsonl", setting="systems", hint=_REMOVE_LINE)
        unfinished += unfinished_failures
    manifest = _manifest(folder / "manifest.json")
    return replace(
        system,
        name=folder.resolve().name,
        source=folder,
        manifest=manifest,
        failed=unfinished + sum(not failure.get("skipped") for failure in failures),
        planned=manifest["counts"].get("planned") if manifest and "counts" in manifest else None,
        failed_ranks=tuple(f["rank"] for f in failures if "rank" in f and not f.get("skipped")),
        skipped_ranks=tuple(f["rank"] for f in failures if "rank" in f and f.get("skipped")),
    )


def _system_of_run(records: Iterable[Mapping[str, Any]], folder: Path, lines: Path) -> System:
    """What the lines of predictions.jsonl say; of captions and stories, a line at a time is in memory."""
    rest = iter(records)
    first = next(rest, None)
    known = chain([] if first is None else [first], rest)
    if first is None or "steps" not in first:
        return system_of(known, lines, "id", "story" if first is not None and "story" in first else "caption", is_own=True)
    several = list(known)
    system = system_of(several, lines, "id", "text", is_own=True)
    steps = (answers_of(record, folder, f"{lines} (id {record['id']!r})") for record in several)
    return replace(system, items=tuple(replace(item, answers=answers) for item, answers in zip(system.items, steps, strict=True)))


def _manifest(file: Path) -> dict[str, Any] | None:
    if not file.is_file():
        return None
    return read_manifest(
        file, remedy=f"evaluate {file.parent / 'predictions.jsonl'} itself, or delete this folder and run its command again"
    )


def records_of(
    document: Any, path: Path, *, id_key: str | None = None, caption_key: str | None = None
) -> Iterator[Mapping[str, Any]]:
    """The records of a document in any of the forms of ``listed_records``, which tells the keys.

    Raises:
        MagicError: The document has none of these forms.
    """
    if isinstance(document, Mapping):
        if "evaluation_result" in document:
            raise MagicError(
                f"{path}: is a released story file, which holds its references: give it as a system, as in `magic evaluate {path}`"
            )
        document = listed_records(document, id_key=id_key, caption_key=caption_key)
        if isinstance(document, Mapping):
            raise MagicError(f"{path}: a JSON object of an unknown form (keys {_some(document)}); {_HINT}")
    if not isinstance(document, list):
        raise MagicError(f"{path}: holds {json_kind(document)}, not a list of records; {_HINT}")
    for number, record in enumerate(document, start=1):
        if not isinstance(record, Mapping):
            raise MagicError(f"{path} record {number}: must be a JSON object, got {str(record)[:60]!r}")
        yield record


def _id(record: Mapping[str, Any], place: str, wanted: str | None) -> str:
    key = _named(record, wanted) if wanted is not None else first_key(record, ID_KEYS)
    if key is None:
        looked_for = wanted or ", ".join(ID_KEYS)
        raise MagicError(f"{place}: no id (looked for {looked_for}; the record has {_some(record)}); set id_key=...")
    return item_id(record[key], f"{place}: {key}")


def record_id(record: Mapping[str, Any], place: str) -> str:
    """The id of a record of references.

    Raises:
        MagicError: It has no id.
    """
    return _id(record, place, None)


def _caption(record: Mapping[str, Any], place: str, item: str, wanted: str | None) -> str:
    named = CAPTION_KEYS if wanted is None else (_named(record, wanted),)
    keys = [key for key in named if key is not None and key in record]
    if len(keys) > 1:
        raise MagicError(f"{place} (id {item!r}): has {' and '.join(keys)}; choose the caption with caption_key={keys[-1]}")
    key = keys[0] if keys else None
    if key is None:
        looked_for = wanted or ", ".join(CAPTION_KEYS)
        raise MagicError(
            f"{place} (id {item!r}): no caption (looked for {looked_for}; the record has {_some(record)}); set caption_key=..."
        )
    return one_text(record[key], f"{place} (id {item!r}), {key}")


def _title(value: Any, place: str, item: str) -> str:
    if not isinstance(value, str):
        raise MagicError(f"{place} (id {item!r}): the title must be a text, got {str(value)[:60]!r}")
    return value


def system_name(path: Path) -> str:
    """The name of a file in tables: without ``.gz`` and the suffix of its kind.

    >>> system_name(Path("coco/magic_result.json.gz")), system_name(Path("Mine.TSV"))
    ('magic_result', 'Mine')
    """
    name = Path(unpacked_name(path))
    return name.stem if ending(path) in (".json", ".jsonl", ".tsv", ".csv", ".txt") else name.name


def _named(record: Mapping[str, Any], wanted: str) -> str | None:
    """The key that the user means. For known columns of tables the readers have changed the spelling."""
    return wanted if wanted in record else next((key for key in record if column_word(key) == column_word(wanted)), None)


def _some(record: Mapping[str, Any]) -> str:
    keys = list(record)
    return ", ".join(map(str, keys[:8])) + (" ..." if len(keys) > 8 else "")
