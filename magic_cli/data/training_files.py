"""Reads training texts: plain lines, tables, JSON, run folders, and the captions of data sets.

Each reader yields groups of texts that belong together (the captions of one image).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from magic_cli.data.annotations import AnnotatedImage, coco_images, karpathy_images
from magic_cli.data.bundled_coco import load_bundled_coco_captions
from magic_cli.data.json_files import holds_json, parse_records, read_json
from magic_cli.data.paths import ending, expanded
from magic_cli.data.predictions import read_system
from magic_cli.data.record_fields import (
    CAPTION_KEYS,
    ID_KEYS,
    OTHER_KEYS,
    REFERENCE_KEYS,
    column_word,
    first_key,
    item_id,
    record_texts,
    split_of,
)
from magic_cli.data.record_forms import listed_records
from magic_cli.data.run_files import PREDICTIONS, refuse_without_texts
from magic_cli.data.text_files import read_text, text_lines
from magic_cli.data.text_tables import (
    columns_of_images,
    has_header,
    is_named_csv,
    is_story_header,
    is_text_header,
    may_be_id,
    parse_table,
    unquoted,
)
from magic_cli.errors import MagicError, SettingsError

Groups = list[list[str]]
"""Texts that belong together, group by group."""

Chooser = Callable[[list[Any]], list[bool]]
"""Says for each record whether it is read."""

HINT = "name a file of texts (formats: docs/formats.md)"
_SETTING = "dataset.path"
_COLUMNS_HINT = "name the columns in a header line, one of them caption or text"


class SourceKind(Enum):
    """The form of a source of texts."""

    bundled_coco = "bundled_coco"
    karpathy = "karpathy"
    coco_captions = "coco_captions"
    stories = "stories"
    text = "text"


class TextForm(Enum):
    """How a text becomes a sample. ``caption``: between start and end token. ``story``: title, end token, story."""

    caption = "caption"
    story = "story"


def read_groups(kind: SourceKind, path: Path, split: str | None, form: TextForm) -> Groups:
    """The texts of one source, in the file's order.

    Args:
        kind: The form of the source.
        path: The file; unused for ``bundled_coco``.
        split: Only images of this split; None: all.
        form: What the texts are for. Only the kind ``text`` uses it, to tell captions from stories.

    Raises:
        MagicError: The file is missing or has another form; names file and line.
    """
    return read_plain(path, form) if kind is SourceKind.text else _READERS[kind](path, split)


def _bundled(path: Path, split: str | None) -> Groups:
    by_image = load_bundled_coco_captions()
    return [by_image[image] for image in sorted(by_image)]


def _karpathy(path: Path, split: str | None) -> Groups:
    document = read_json(
        path,
        setting=_SETTING,
        hint="name Karpathy's JSON file, from his caption_datasets.zip; scripts/prepare_coco.py downloads it",
    )
    return _of_split(karpathy_images(document, f"{_SETTING}={path}"), split, path)


def _coco_captions(path: Path, split: str | None) -> Groups:
    document = read_json(path, setting=_SETTING, hint=HINT)
    return _of_split(coco_images(document, f"{_SETTING}={path}"), split, path)


def _of_split(images: Iterable[AnnotatedImage], split: str | None, path: Path) -> Groups:
    groups, known = [], set()
    for image in images:
        known.add(str(image.split))
        if split is None or image.split == split:
            groups.append(list(image.captions))
    if not groups:
        raise SettingsError(f"{_SETTING}={path}: no images of split {split!r}; it has {', '.join(sorted(known)) or 'no images'}")
    return groups


def _stories(path: Path, split: str | None) -> Groups:
    """Lines ``title<TAB>story``, unchanged."""
    groups: Groups = []
    for number, line in text_lines(read_text(path, setting=_SETTING, hint=HINT)):
        title, tab, story = line.partition("\t")
        if not (tab and title.strip() and story.strip()):
            raise MagicError(f"{_SETTING}={path} line {number}: must be title, tab, story, got {line[:60]!r}; mend the line")
        if groups or not is_story_header(line):
            groups.append([f"{title.strip()}\t{story.strip()}"])
    return groups


_READERS: dict[SourceKind, Callable[[Path, str | None], Groups]] = {
    SourceKind.bundled_coco: _bundled,
    SourceKind.karpathy: _karpathy,
    SourceKind.coco_captions: _coco_captions,
    SourceKind.stories: _stories,
}


def read_plain(path: Path, form: TextForm, *, setting: str = _SETTING, choose: Chooser | None = None) -> Groups:
    """One text per line, a table, JSON, or a run folder: recognised by the name or else by the beginning of the file.

    Args:
        path: File or run folder.
        form: What the texts are for.
        setting: The setting that names it, for error messages.
        choose: Which records of a table or of JSON are read; None: all, but Karpathy's must have no splits.

    Raises:
        MagicError: It is missing, or it is unclear which part is the text; names the line.
    """
    if expanded(path).is_dir():
        return _run(expanded(path), form, setting)
    text = read_text(path, setting=setting, hint=HINT)
    place = f"{setting}={path}"
    if ending(path) in (".jsonl", ".json") or holds_json(text):
        return _of_records(parse_records(text, path, setting=setting, hint=HINT), place, form, choose)
    lines = [line for _, line in text_lines(text)]
    if not lines:
        return []
    if form is TextForm.story and all("\t" in line for line in lines):
        return [[line] for line in lines[is_story_header(lines[0]) :]]
    is_table = is_named_csv(path) or has_header(text, surely=ending(path) != ".tsv")
    if not is_table and form is TextForm.caption and all("\t" in line.strip() for line in lines):
        is_table = all(may_be_id(line.partition("\t")[0]) for line in lines)
        if not is_table:
            of_stories = ", or for title<TAB>story set dataset.form=story" if setting == _SETTING else ""
            raise MagicError(f"{place}: its lines have columns; {_COLUMNS_HINT}{of_stories}")
    if is_table:
        return _of_records(parse_table(text, place, _COLUMNS_HINT), place, form, choose)
    if (sign := columns_of_images(lines)) is not None:
        raise MagicError(
            f"{place}: its lines are columns separated by {sign!r}, and the first column holds image files; {_COLUMNS_HINT}"
        )
    return [[unquoted(line)] for line in lines[1:]] if is_text_header(lines[0]) else [[line] for line in lines]


def _run(folder: Path, form: TextForm, setting: str) -> Groups:
    """The texts of a run; stories for the same title belong together."""
    refuse_without_texts(folder, setting)
    if not (folder / PREDICTIONS).is_file():
        raise MagicError(f"{setting}={folder}: is a folder without predictions.jsonl, so it is not a run folder; {HINT}")
    system = read_system(folder)
    if form is TextForm.story and not system.writes_stories:
        raise MagicError(f"{setting}={folder}: is a run of captions, which have no titles; set dataset.form=caption")
    groups: dict[str, list[str]] = {}
    for item in system.items:
        text = f"{item.title}\t{item.text}" if form is TextForm.story else item.text
        groups.setdefault(item.title_id or item.id, []).append(text)
    return list(groups.values())


def _of_records(document: Any, place: str, form: TextForm, choose: Chooser | None) -> Groups:
    """The texts of records; those of the same image form one group."""
    if isinstance(document, dict) and "images" in document:
        raise MagicError(
            f"{place}: holds images and their captions; choose --dataset coco_captions (COCO's format), or coco or flickr30k (Karpathy's)"
        )
    groups: dict[Any, list[str]] = {}
    listed = listed_records(document, surely=True)
    records = listed if isinstance(listed, list) else [listed]
    are_read = [True] * len(records) if choose is None else choose(records)
    for number, (record, is_read) in enumerate(zip(records, are_read, strict=True), start=1):
        where = f"{place} record {number}"
        if not is_read:
            continue
        if choose is None and (split := split_of(record)) and _is_karpathys(record):
            raise MagicError(
                f"{where}: is of a split ({split[:60]!r}), and texts of tests must not be trained on; write the texts of one "
                "split without this key, or choose --dataset coco or flickr30k with Karpathy's own file"
            )
        groups.setdefault(_image_of(record, where) or number, []).extend(_texts_of(record, where, form))
    return list(groups.values())


def _is_karpathys(record: Mapping[str, Any]) -> bool:
    return first_key(record, OTHER_KEYS) is not None and first_key(record, (*CAPTION_KEYS, *REFERENCE_KEYS)) is None


def _image_of(record: Any, place: str) -> str | None:
    """A name that identifies the record's image; None if it names no image."""
    keys = ID_KEYS if isinstance(record, Mapping) else ()
    key = next((key for key in keys if isinstance(record.get(key), str | int | float) and record[key] != ""), None)
    return None if key is None else f"{key}={item_id(record[key], f'{place}: {key}')}"


def _texts_of(record: Any, place: str, form: TextForm) -> list[str]:
    _, texts = record_texts(record, place)
    if any(text.startswith(("http://", "https://")) and " " not in text for text in texts):
        raise MagicError(f"{place}: holds an address, not a text ({texts[0][:60]!r}); {_COLUMNS_HINT}")
    title = (
        next((value for key, value in record.items() if column_word(str(key)) == "title"), None)
        if isinstance(record, Mapping)
        else None
    )
    if form is TextForm.story and isinstance(title, str):
        return [f"{' '.join(title.split())}\t{text}" for text in texts]
    return list(texts)


def flatten(groups: Iterable[list[str]]) -> list[str]:
    """The texts of all groups."""
    return [text for group in groups for text in group]
