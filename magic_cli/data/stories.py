"""Titles to write stories for, and the images that were retrieved for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from magic_cli.data.images import StoredImage
from magic_cli.data.json_files import holds_json, parse_records, read_records, whole_characters
from magic_cli.data.named_images import ImageRoot
from magic_cli.data.text_files import read_text, text_lines
from magic_cli.data.text_tables import is_named_csv, is_story_header, titled_rows
from magic_cli.errors import MagicError

_TITLES_HINT = (
    'give a ROCStories file (one title<TAB>story a line) or JSON lines {"title", "story"?, "id"?, "image"?} (docs/formats.md)'
)
_RETRIEVED_HINT = (
    '`magic retrieve-images query` writes it: JSON lines {"id", "query", "images": [{"image", ...}, ...]}, the best image first'
)


@dataclass(frozen=True)
class StoryRecord:
    """One title, or one title with one of its images."""

    id: str
    """Unique in its run: the title's id, with ``#<rank>`` if stories are written for several images of the title."""
    title_id: str
    title: str
    path: Path | StoredImage | None = None
    """The image that the story should fit; None: there is none, or the method does not look at one."""
    rank: int | None = None
    """Rank of the image among the title's images, 1 for the best; None: no image."""
    reference: str | None = None
    """The story that a person wrote for the title; None: not known."""
    images: tuple[Path | StoredImage, ...] = field(default=())
    """All images of the title, the best first."""


def read_titles(path: Path, *, images: str | None = None) -> list[StoryRecord]:
    """Titles in the file's order. They may repeat: without ids in the file, line numbers are the ids.

    Args:
        path: ROCStories' ``title<TAB>story``, or JSON records; ``.gz`` is unpacked.
        images: Folder of the images in the records; None: the folder of the file.

    Raises:
        MagicError: The file has another form, a title is empty, or an id appears twice; names the line.
    """
    text = read_text(path, setting="dataset.titles", hint=_TITLES_HINT)
    document: Any = None
    if holds_json(text) or is_named_csv(path):
        document = parse_records(text, path, setting="dataset.titles", hint=_TITLES_HINT)
    elif not any(is_story_header(line) for _, line in islice(text_lines(text), 1)):
        document = titled_rows(text, f"dataset.titles={path}", ("title",))
    if document is not None:
        rows = document if isinstance(document, list) else [document]
        root = ImageRoot.typed(images, "dataset.root") if images else ImageRoot(path.parent)
        records = [
            _of_json(row, f"dataset.titles={path} record {number}", number, root) for number, row in enumerate(rows, start=1)
        ]
    else:
        lines = [(number, line) for number, line in text_lines(text) if number > 1 or not is_story_header(line)]
        records = [_of_line(line.rstrip("\r"), f"dataset.titles={path} line {number}", number) for number, line in lines]
    seen: set[str] = set()
    for number, record in enumerate(records, start=1):
        if record.id in seen:
            raise MagicError(f"dataset.titles={path} record {number}: the id {record.id!r} appears twice; ids must differ")
        seen.add(record.id)
    return records


def _of_line(line: str, place: str, number: int) -> StoryRecord:
    cells = line.split("\t")
    if len(cells) > 2:
        raise MagicError(f"{place}: has {len(cells) - 1} tabs; a title and its story have one tab between them")
    story = " ".join(cells[1].split()) if len(cells) == 2 else ""
    return StoryRecord(str(number), str(number), clean_title(cells[0], place), reference=story or None)


def _of_json(row: Any, place: str, number: int, root: ImageRoot) -> StoryRecord:
    row = {"title": row} if isinstance(row, str) else row
    if not isinstance(row, Mapping) or not isinstance(row.get("title"), str):
        raise MagicError(f"{place}: no title; {_TITLES_HINT}")
    item, story, image = row.get("id", number), row.get("story"), row.get("image")
    if isinstance(item, bool) or not isinstance(item, str | int):
        raise MagicError(f"{place}: id must be a text or a whole number, got {str(item)[:60]!r}")
    for key, value in (("story", story), ("image", image)):
        if value is not None and not isinstance(value, str):
            raise MagicError(f"{place}: {key} must be a text, got {str(value)[:60]}")
    paths = (root.image(image),) if image else ()
    return StoryRecord(str(item), str(item), clean_title(row["title"], place), reference=story or None, images=paths)


def clean_title(title: str, place: str) -> str:
    """The title as one line; every run of white space, including tabs, becomes one space.

    Raises:
        MagicError: The title is empty.
    """
    cleaned = " ".join(whole_characters(title).split())
    if not cleaned:
        raise MagicError(f"{place}: the title is empty; write one, or leave it out")
    return cleaned


def read_retrieved(path: Path, *, setting: str) -> dict[str, tuple[Path | StoredImage, ...]]:
    """The images for each query, the best first; white space in queries is cleaned as in ``clean_title``.

    Raises:
        MagicError: The file has another form, or a query appears with different images; names the record.
    """
    document = read_records(path, setting=setting, hint=_RETRIEVED_HINT)
    records = document if isinstance(document, list) else [document]
    found: dict[str, tuple[Path | StoredImage, ...]] = {}
    root = ImageRoot(path.parent, follows=True)  # of an index, whose images the user named
    for number, record in enumerate(records, start=1):
        place = f"{setting}={path} record {number}"
        try:
            query, images = record["query"], tuple(root.image(entry["image"]) for entry in record["images"])
        except (KeyError, TypeError) as error:
            raise MagicError(f"{place}: not as expected ({error!r}); {_RETRIEVED_HINT}") from error
        if isinstance(query, bool) or not isinstance(query, str | int):
            raise MagicError(f"{place}: query must be a text, got {str(query)[:60]!r}; {_RETRIEVED_HINT}")
        query = " ".join(whole_characters(str(query)).split())
        if found.setdefault(query, images) != images:
            raise MagicError(
                f"{place}: the query {query!r} has other images than before; run `magic retrieve-images query` again"
            )
    return found


def with_images(records: Sequence[StoryRecord], retrieved: Mapping[str, tuple[Path | StoredImage, ...]]) -> list[StoryRecord]:
    """The titles with the images of the query equal to them; titles without such a query keep their own."""
    return [replace(record, images=retrieved.get(record.title, record.images)) for record in records]


def for_each_image(records: Sequence[StoryRecord], count: int) -> list[StoryRecord]:
    """One record for each of a title's best images, at most ``count``; a title without images stays, without a path."""
    return [
        replace(record, id=f"{record.title_id}#{rank}", path=path, rank=rank)
        for record in records
        for rank, path in enumerate(record.images[:count] or (None,), start=1)
    ]
