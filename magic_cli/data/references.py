"""Reads reference captions from common files, with all names that an image may have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from magic_cli.data.annotations import coco_images, is_coco, karpathy_image
from magic_cli.data.image_names import NamedImages, is_image_name
from magic_cli.data.json_files import read_records
from magic_cli.data.predictions import record_id, records_of
from magic_cli.data.record_fields import ID_KEYS, REFERENCE_KEYS, first_key, several_texts
from magic_cli.data.record_images import guessed_image, named_image
from magic_cli.errors import MagicError, SettingsError

_Row = tuple[str, tuple[str, ...], Mapping[str, Any]]
"""An id, its references, and the record that may name the image."""
_ONE_OR_SEVERAL = ("caption", "raw")
"""Keys of one reference or several, in a table of Karpathy's Flickr30k, too; an image may have several records."""
_HINT = "give a COCO or Karpathy annotation file, JSON lines {id, references} or an object {id: [captions]} (docs/formats.md shows each)"


@dataclass(frozen=True)
class ReferenceSet:
    """References for images, in the file's order."""

    source: Path
    captions: dict[str, tuple[str, ...]]
    image_names: dict[str, str] = field(default_factory=dict)
    """The image file of each id, if the file names one."""
    guessed_names: dict[str, str] = field(default_factory=dict)
    """For the other ids, an image file under a key that may mean something else."""

    @cached_property
    def _named(self) -> NamedImages:
        return self._images(self.image_names)

    @cached_property
    def _guessed(self) -> NamedImages:
        return self._images(self.guessed_names)

    def _images(self, known: Mapping[str, str]) -> NamedImages:
        return NamedImages((item, [known[item]] if item in known else []) for item in self.captions)

    def find(self, name: str) -> tuple[str, ...]:
        """The ids of the images with this name: one, several if it is ambiguous, or none."""
        return self._named.find(name)

    def guess(self, name: str) -> tuple[str, ...]:
        """As ``find``; if that finds nothing, uncertain names are tried too."""
        return self.find(name) or self._guessed.find(name)

    def image_name(self, item: str) -> str | None:
        """The image file of an id, if the file names one or the id itself is one."""
        return self.image_names.get(item) or (item if is_image_name(item) else None)


def read_references(path: Path, *, split: str | None = None) -> ReferenceSet:
    """Read references.

    Args:
        path: COCO annotations, Karpathy's JSON, JSON lines or a list of ``{id, references}``, an object ``{id: [captions]}``,
            or a released MAGIC file.
        split: Only images of this split, if the file has splits.

    Raises:
        MagicError: The file has another form, or an id appears twice; names file and record.
        SettingsError: No image belongs to this split.
    """
    return references_of(read_records(path, setting="references", hint=_HINT), path, split=split)


def references_of(document: Any, path: Path, *, split: str | None = None) -> ReferenceSet:
    """The references in a parsed file, as ``read_references``; ``path`` is used in messages."""
    rows = list(_coco(document, path) if is_coco(document) else _records(document, path))
    if split is not None:
        splits = sorted({record["split"] for _, _, record in rows if isinstance(record.get("split"), str)})
        if not splits:
            raise SettingsError(f"split={split}: {path} has no splits; give references that have, or leave split out")
        rows = [row for row in rows if row[2].get("split") == split]
        if not rows:
            raise SettingsError(f"split={split}: {path} has the splits {', '.join(splits)}")
    captions: dict[str, tuple[str, ...]] = {}
    names: dict[str, str] = {}
    guesses: dict[str, str] = {}
    for number, (item, texts, record) in enumerate(rows, start=1):
        if item in captions:
            raise MagicError(
                f"{path} record {number}: the id {item!r} appears twice; give all references of an image in one record"
            )
        captions[item] = texts
        if name := _image_name(record):
            names[item] = name
        elif not is_image_name(item) and (guess := guessed_image(record)):
            guesses[item] = guess
    if not captions:
        raise MagicError(f"references={path}: holds no references; {_HINT}")
    return ReferenceSet(path, captions, names, guesses)


def _coco(document: Mapping[str, Any], path: Path) -> Iterator[_Row]:
    """The rows of a COCO file. Images without captions are left out, as in pycocotools."""
    for image in coco_images(document, str(path)):
        if image.captions:
            assert image.id is not None  # COCO's images all have one
            yield image.id, image.captions, image.record


def _records(document: Any, path: Path) -> Iterator[_Row]:
    rows: list[_Row] = []
    single: set[str] = set()
    for number, record in enumerate(records_of(document, path), start=1):
        place = f"{path} record {number}"
        if "sentences" in record:  # Karpathy's format
            image = karpathy_image(record, place)
            if not image.captions:
                raise MagicError(
                    f"{place} (id {image.id!r}): its sentences are none; write its references, or leave the record out"
                )
            rows.append((image.id or record_id(record, place), image.captions, record))
            if isinstance(record["sentences"], Mapping):  # Hugging Face's copies have a row for each caption
                single.add(rows[-1][0])
            continue
        item = record_id(record, place)
        if key := first_key(record, REFERENCE_KEYS):
            rows.append((item, several_texts(record[key], f"{place} (id {item!r}), {key}"), record))
        elif key := next((key for key in _ONE_OR_SEVERAL if key in record), None):
            rows.append((item, several_texts(record[key], f"{place} (id {item!r}), {key}"), record))
            single.add(item)
        else:
            raise MagicError(
                f"{place} (id {item!r}): no references (looked for {', '.join((*REFERENCE_KEYS, *_ONE_OR_SEVERAL))}); {_HINT}"
            )
    if names := _images_of_numbered_rows(rows):
        rows = [(name, texts, record) for name, (_, texts, record) in zip(names, rows, strict=True)]
        single = set(names)
    joined: dict[str, tuple[list[str], Mapping[str, Any]]] = {}
    for item, texts, record in rows:
        if item in single:
            joined.setdefault(item, ([], record))[0].extend(texts)
        else:
            yield item, texts, record
    for item, (all_texts, record) in joined.items():
        yield item, tuple(all_texts), record


def _images_of_numbered_rows(rows: Sequence[_Row]) -> list[str] | None:
    """The image of each row if ``id`` numbers the rows and an image has several; None if the ids are those of images."""
    names = [_image_name(record) if first_key(record, ID_KEYS) == "id" else None for item, _, record in rows]
    has_several = len({item for item, _, _ in rows}) == len(rows) and len(set(names)) < len(rows)
    known = [name for name in names if name is not None]
    return known if has_several and len(known) == len(names) else None


def _image_name(record: Mapping[str, Any]) -> str | None:
    named = named_image(record)
    return named[1] if named else None
