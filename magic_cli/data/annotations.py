"""Annotation files of COCO and Karpathy: images with their captions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from magic_cli.data.json_text import json_kind
from magic_cli.data.record_fields import item_id, several_texts
from magic_cli.errors import MagicError

_HINT = "see docs/formats.md for the format"


@dataclass(frozen=True)
class AnnotatedImage:
    """One image of an annotation file."""

    id: str | None
    """COCO's number, else the file's name without suffix; None: it has neither."""
    captions: tuple[str, ...]
    """The captions in the file's order; empty: there are none."""
    file_name: str | None = None
    split: str | None = None
    record: Mapping[str, Any] = field(default_factory=dict)
    """The image's own record in the file; empty: only captions mention the image."""


def is_coco(document: Any) -> bool:
    """Whether a document has COCO's form: captions apart from images."""
    return isinstance(document, Mapping) and isinstance(document.get("annotations"), list)


def coco_images(document: Any, place: str) -> list[AnnotatedImage]:
    """The images of a COCO captions file in its order, then those that only captions mention.

    Args:
        document: The parsed file.
        place: The file, for error messages.

    Raises:
        MagicError: The document has another form, or two images have the same id; says where.
    """
    captions: dict[str, list[str]] = {}
    for image, texts in coco_captions(document, place):
        captions.setdefault(image, []).extend(texts)
    images: dict[str, AnnotatedImage] = {}
    for number, record in enumerate(_list(document, "images", place) if document.get("images") is not None else [], start=1):
        where = f"{place} image {number}"
        if not isinstance(record, Mapping) or record.get("id") is None:
            raise MagicError(f"{where}: needs an id, got {str(record)[:80]!r}")
        image = item_id(record["id"], f"{where}: id")
        found = AnnotatedImage(
            image, tuple(captions.get(image, ())), _text(record, "file_name", where), _text(record, "split", where), record
        )
        if image in images and (images[image].file_name, images[image].split) != (found.file_name, found.split):
            raise MagicError(
                f"{where}: the id {image!r} belongs to both {images[image].file_name} and {found.file_name}; ids must differ"
            )
        images[image] = found
    return [*images.values(), *(AnnotatedImage(image, tuple(texts)) for image, texts in captions.items() if image not in images)]


def coco_captions(document: Any, place: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The captions of a COCO captions file in its order, each with the id of its image.

    Raises:
        MagicError: As ``coco_images``.
    """
    for number, annotation in enumerate(_list(document, "annotations", place), start=1):
        where = f"{place} annotation {number}"
        if not isinstance(annotation, Mapping) or "caption" not in annotation or "image_id" not in annotation:
            raise MagicError(f"{where}: needs image_id and caption, got {str(annotation)[:80]!r}")
        yield item_id(annotation["image_id"], f"{where}: image_id"), several_texts(annotation["caption"], f"{where}, caption")


def karpathy_images(document: Any, place: str, *, needs: Sequence[str] = ()) -> Iterator[AnnotatedImage]:
    """The images of one of Karpathy's files.

    Args:
        document: The parsed file.
        place: The file, for error messages.
        needs: Keys that each image must have.

    Raises:
        MagicError: The document has another form; says where.
    """
    for number, record in enumerate(_list(document, "images", place), start=1):
        yield karpathy_image(record, f"{place} image {number}", needs=needs)


def karpathy_image(record: Any, place: str, *, needs: Sequence[str] = ()) -> AnnotatedImage:
    """One image, as in ``karpathy_images``."""
    for key in (*needs, "sentences"):
        if not isinstance(record, Mapping) or record.get(key) is None:
            raise MagicError(f"{place}: not as expected (no key {key!r}); {_HINT}")
    name, number = _text(record, "filename", place), record.get("cocoid")
    item = item_id(number, f"{place}: cocoid") if number is not None else PurePosixPath(name).stem if name else None
    captions = several_texts(record["sentences"], f"{place}, sentences") if record["sentences"] != [] else ()
    return AnnotatedImage(item, captions, name, _text(record, "split", place), record)


def _list(document: Any, key: str, place: str) -> list[Any]:
    if not isinstance(document, Mapping):
        raise MagicError(f"{place}: not as expected (holds {json_kind(document)}, not an object); {_HINT}")
    if not isinstance(document.get(key), list):
        problem = f"{key} is {json_kind(document[key])}, not a list" if key in document else f"no key {key!r}"
        raise MagicError(f"{place}: not as expected ({problem}); {_HINT}")
    return document[key]


def _text(record: Mapping[str, Any], key: str, place: str) -> str | None:
    value = record.get(key)
    if value is not None and not isinstance(value, str):
        raise MagicError(f"{place}: {key} must be a text, got {str(value)[:60]!r}; {_HINT}")
    return value
