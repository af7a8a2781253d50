"""Captions that any tool has written: one reader for run folders, JSON lists, JSON objects and JSON lines.

The kind of file is told by its content, not by its name; data/README.md lists the forms.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from magic_cli.data.answers import answers_of
from magic_cli.data.image_names import is_image_name
from magic_cli.data.json_files import read_growing_lines, read_records
from magic_cli.data.listed_texts import texts_of
from magic_cli.data.run_files import read_manifest
from magic_cli.data.story_files import is_story_file, read_story_file
from magic_cli.data.system import System
from magic_cli.data.text_tables import CAPTION_KEYS, ID_KEYS, REFERENCE_KEYS, column_word
from magic_cli.errors import MagicError

IMAGE_KEYS = ("image", "image_path", "image_name", "file_name", "filename")
"""Where a record names its image; where it has none of these, any other text that ends as an image file does."""
_LONGEST_PATH = 4096  # what is longer is an image's content
_LAST_WHOLE = 2**53
"""Above it a decimal number may have lost the last digits of a whole one."""
_FOLDER_KEYS = ("file_path", "filepath")
_OTHER_TEXTS = (*CAPTION_KEYS, *REFERENCE_KEYS, *ID_KEYS[:4], "title")
_LISTS = ("annotations", "predictions", "results", "data", "images")

_REMOVE_LINE = "remove the damaged line, and start the run's command again"
_HINT = "give a run folder, a released MAGIC file, COCO results or JSON lines (data/README.md shows each)"


def read_system(path: Path, *, id_key: str | None = None, caption_key: str | None = None) -> System:
    """Read one captioner's output.

    Args:
        path: Run folder or file.
        id_key: Key of an item's id; None: the first of ``ID_KEYS`` that the record has. A run folder's are known.
        caption_key: Key of the caption; None: the one of ``CAPTION_KEYS`` that the record has.

    Raises:
        MagicError: Not such a file, a caption is missing or no text, an id stands twice; names file and record.
    """
    if path.is_dir():
        return _read_run(path)
    document = read_records(path, setting="systems", hint=_HINT)
    if is_story_file(document):
        return read_story_file(document, path, system_name(path))
    return _system(records_of(document, path), path, id_key, caption_key)


def _system(
    records: Iterable[Mapping[str, Any]], path: Path, id_key: str | None, caption_key: str | None, *, is_own: bool = False
) -> System:
    """What records say; ``is_own``: a run folder's, whose captions stand as they were written, whatever they look like."""
    captions: dict[str, str] = {}
    references: dict[str, tuple[str, ...]] = {}
    images: dict[str, str] = {}
    splits: dict[str, str] = {}
    titles: dict[str, str] = {}
    ranks: dict[str, int] = {}
    title_ids: dict[str, str] = {}
    keys: tuple[str, str] | None = None
    for number, record in enumerate(records, start=1):
        place = f"{path} record {number}"
        item = _id(record, place, id_key)
        if item in captions:
            raise MagicError(f"{place}: the id {item!r} stands twice; keep one caption for each image")
        captions[item] = record[caption_key] if is_own and isinstance(record.get(caption_key), str) else _caption(record, place, item, caption_key)
        if key := first_key(record, REFERENCE_KEYS):
            references[item] = reference_texts(record[key], f"{place} (id {item!r}), {key}")
        if (key := image_key(record)) and (key in IMAGE_KEYS or not is_image_name(item)):
            images[item] = image_path(record, key)
            keys = keys or (id_key or first_key(record, ID_KEYS), key)
        elif is_image_name(item):
            images[item] = item
        if isinstance(record.get("split"), str):
            splits[item] = record["split"]
        if record.get("title") is not None and "story" in record:
            titles[item] = _title(record["title"], place, item)
            if type(record.get("rank")) is int:
                ranks[item], title_ids[item] = record["rank"], str(record.get("title_id", item))
    if not captions:
        raise MagicError(f"{path}: holds no captions; {_HINT}")
    if titles and (without := [item for item in captions if item not in titles]):
        raise MagicError(f"{path} (id {without[0]!r}): no title, while others have one; add it, or leave the record out")
    return System(
        system_name(path), path, captions, references, images, splits=splits, titles=titles, ranks=ranks, title_ids=title_ids,
        keys=keys, ids_are_chosen=id_key is not None and not is_own,
    )  # fmt: skip


def _read_run(folder: Path) -> System:
    lines = folder / "predictions.jsonl"
    if not lines.is_file():
        raise MagicError(f"systems={folder}: no predictions.jsonl in this folder, so it is no run folder; {_HINT}")
    records, unfinished = read_growing_lines(lines, setting="systems", hint=_REMOVE_LINE)
    failures: list[dict[str, Any]] = []
    if (folder / "failures.jsonl").is_file():
        failures, unfinished_failures = read_growing_lines(folder / "failures.jsonl", setting="systems", hint=_REMOVE_LINE)
        unfinished += unfinished_failures
    manifest = _manifest(folder / "manifest.json")
    are_answers = bool(records) and "steps" in records[0]
    text = "text" if are_answers else "story" if records and "story" in records[0] else "caption"
    return replace(
        _system(records, lines, "id", text, is_own=True),
        answers={record["id"]: answers_of(record, folder, f"{lines} (id {record['id']!r})") for record in records} if are_answers else {},
        name=folder.resolve().name,
        source=folder,
        manifest=manifest,
        failed=unfinished + sum(not failure.get("skipped") for failure in failures),
        planned=manifest["counts"].get("planned") if manifest and "counts" in manifest else None,
        failed_ranks=tuple(f["rank"] for f in failures if "rank" in f and not f.get("skipped")),
        skipped_ranks=tuple(f["rank"] for f in failures if "rank" in f and f.get("skipped")),
    )


def _manifest(file: Path) -> dict[str, Any] | None:
    if not file.is_file():
        return None
    return read_manifest(file, remedy=f"evaluate {file.parent / 'predictions.jsonl'} itself, or delete this folder and write it anew")


def records_of(document: Any, path: Path) -> Iterator[Mapping[str, Any]]:
    """The records of a list, of an object that holds one, or of an object ``{id: caption or captions}``; or the one record itself.

    Raises:
        MagicError: The document has none of these forms.
    """
    if isinstance(document, Mapping):
        if "evaluation_result" in document:
            raise MagicError(f"{path}: is a released story file, which brings its references along: give it as a system, as in `magic evaluate {path}`")
        lists = [key for key in _LISTS if isinstance(document.get(key), list)]
        if lists:
            document = document[lists[0]]
        elif first_key(document, ID_KEYS) and first_key(document, (*CAPTION_KEYS, *REFERENCE_KEYS)):
            document = [document]
        elif all(isinstance(value, str | list) for value in document.values()):
            document = [{"id": key, "caption": value} for key, value in document.items()]
        else:
            raise MagicError(f"{path}: a JSON object of an unknown form (keys {_some(document)}); {_HINT}")
    if not isinstance(document, list):
        raise MagicError(f"{path}: holds {type(document).__name__}, not a list of records; {_HINT}")
    for number, record in enumerate(document, start=1):
        if not isinstance(record, Mapping):
            raise MagicError(f"{path} record {number}: must be a JSON object, got {str(record)[:60]!r}")
        yield record


def _id(record: Mapping[str, Any], place: str, wanted: str | None) -> str:
    key = _named(record, wanted) if wanted is not None else first_key(record, ID_KEYS)
    if key is None:
        looked_for = wanted or ", ".join(ID_KEYS)
        raise MagicError(f"{place}: no id (looked for {looked_for}; the record has {_some(record)}); set id_key=...")
    value = record[key]
    if isinstance(value, float) and value.is_integer() and abs(value) <= _LAST_WHOLE:  # a table program has been here
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise MagicError(f"{place}: {key} must be a text or a whole number, got {str(value)[:60]!r}")
    return str(value)


def image_key(record: Mapping[str, Any]) -> str | None:
    """Where a record names its image; None if it does not."""
    texts = {key: value.strip() for key, value in record.items() if isinstance(value, str) and len(value) <= _LONGEST_PATH}
    named = next((key for key in IMAGE_KEYS if texts.get(key)), None)
    return named or next((key for key, text in texts.items() if key not in _OTHER_TEXTS and is_image_name(text)), None)


def image_path(record: Mapping[str, Any], key: str) -> str:
    """The image file under a key, in the folder that the released files and Karpathy's name beside it."""
    name = record[key].strip()
    folder = next((record[other] for other in _FOLDER_KEYS if isinstance(record.get(other), str) and record[other]), None)
    if folder is None or key in _FOLDER_KEYS:
        return name
    return folder if is_image_name(folder) else f"{folder}/{name}"


def record_id(record: Mapping[str, Any], place: str) -> str:
    """The id of a record of references.

    Raises:
        MagicError: It has none.
    """
    return _id(record, place, None)


def _caption(record: Mapping[str, Any], place: str, item: str, wanted: str | None) -> str:
    keys = [_named(record, wanted)] if wanted is not None else [key for key in CAPTION_KEYS if key in record]
    if len(keys) > 1:
        raise MagicError(f"{place} (id {item!r}): has {' and '.join(keys)}; say which is the caption: caption_key={keys[-1]}")
    key = keys[0] if keys else None
    if key is None:
        looked_for = wanted or ", ".join(CAPTION_KEYS)
        raise MagicError(f"{place} (id {item!r}): no caption (looked for {looked_for}; the record has {_some(record)}); set caption_key=...")
    value = _texts(record[key], f"{place} (id {item!r}), {key}")
    if isinstance(value, list) and len(value) == 1:
        [value] = value
    if value is None:
        raise MagicError(f"{place} (id {item!r}): the {key} is null; write a caption, or leave the record out")
    if not isinstance(value, str):
        found = f"{len(value)} of them" if isinstance(value, list) else repr(value)[:60]
        raise MagicError(f"{place} (id {item!r}): {key} must be one caption, got {found}")
    return value


def _title(value: Any, place: str, item: str) -> str:
    if not isinstance(value, str):
        raise MagicError(f"{place} (id {item!r}): the title must be a text, got {str(value)[:60]!r}")
    return value


def reference_texts(value: Any, place: str) -> tuple[str, ...]:
    """References of one item, given as a text, a list of texts, or a list of ``{"caption"}`` or ``{"raw"}``; also as printed.

    Raises:
        MagicError: Anything else; names the place.
    """
    if value is None:
        raise MagicError(f"{place}: is null; write its references, or leave the record out")
    found = _texts(value, place)
    texts = [found] if isinstance(found, str) else found
    if not isinstance(texts, list) or not texts:
        raise MagicError(f"{place}: must be a list of captions, got {str(value)[:60]!r}")
    for text in texts:
        if not isinstance(text, str):
            raise MagicError(f"{place}: every reference must be a text, got {str(text)[:60]!r}")
    return tuple(texts)


def _texts(value: Any, place: str) -> Any:
    try:
        return texts_of(value)
    except ValueError as error:
        raise MagicError(f"{place}: looks like a printed list of captions but is none ({error}), got {str(value)[:60]!r}; mend the record") from error


def system_name(path: Path) -> str:
    """What tables call a file: its name without ``.gz`` and the suffix of its kind.

    >>> system_name(Path("coco/magic_result.json.gz"))
    'magic_result'
    """
    name = Path(path.name.removesuffix(".gz"))
    return name.stem if name.suffix in (".json", ".jsonl", ".tsv", ".csv", ".txt") else name.name


def first_key(record: Mapping[str, Any], keys: Sequence[str]) -> str | None:
    """The first of these keys that a record has a value for; None if it has none."""
    return next((key for key in keys if record.get(key) is not None), None)


def _named(record: Mapping[str, Any], wanted: str) -> str | None:
    """The key that the user means; columns that the readers know have come back in the readers' spelling."""
    return wanted if wanted in record else next((key for key in record if column_word(key) == column_word(wanted)), None)


def _some(record: Mapping[str, Any]) -> str:
    keys = list(record)
    return ", ".join(map(str, keys[:8])) + (" ..." if len(keys) > 8 else "")
