"""Reference captions from the files in which people have them, and the names by which an image may be called."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from magic_cli.data.image_names import NamedImages, is_image_name
from magic_cli.data.json_files import read_records
from magic_cli.data.predictions import IMAGE_KEYS, first_key, image_key, image_path, record_id, records_of, reference_texts
from magic_cli.data.text_tables import ID_KEYS, REFERENCE_KEYS
from magic_cli.errors import MagicError, SettingsError

_HINT = "give a COCO or Karpathy annotation file, JSON lines {id, references} or an object {id: [captions]} (data/README.md shows each)"


@dataclass(frozen=True)
class ReferenceSet:
    """References of images, in the file's order."""

    source: Path
    captions: dict[str, tuple[str, ...]]
    image_names: dict[str, str] = field(default_factory=dict)
    """Image file of the ids for which the file names one."""

    def __post_init__(self) -> None:
        named = ((item, [self.image_names[item]] if item in self.image_names else []) for item in self.captions)
        object.__setattr__(self, "_named", NamedImages(named))

    def find(self, name: str) -> tuple[str, ...]:
        """The ids of the images that go by a name: one, several if it does not tell them apart, or none."""
        return self._named.find(name)

    def image_name(self, item: str) -> str | None:
        """The image file of an id, where the file names one, or the id is one."""
        return self.image_names.get(item) or (item if is_image_name(item) else None)


def read_references(path: Path, *, split: str | None = None) -> ReferenceSet:
    """Read references.

    Args:
        path: COCO annotations, Karpathy's JSON, JSON lines or a list of ``{id, references}``, an object ``{id: [captions]}``,
            or a released MAGIC file.
        split: Only images of this split, where the file has splits.

    Raises:
        MagicError: Not such a file, or an id stands twice; names file and record.
        SettingsError: No image is of this split.
    """
    document = read_records(path, setting="references", hint=_HINT)
    rows = list(_coco(document, path) if _is_coco(document) else _records(document, path))
    if split is not None:
        splits = sorted({record["split"] for _, _, record in rows if isinstance(record.get("split"), str)})
        if not splits:
            raise SettingsError(f"split={split}: {path} has no splits; give references that have, or leave split out")
        rows = [row for row in rows if row[2].get("split") == split]
        if not rows:
            raise SettingsError(f"split={split}: {path} has the splits {', '.join(splits)}")
    captions: dict[str, tuple[str, ...]] = {}
    names: dict[str, str] = {}
    for number, (item, texts, record) in enumerate(rows, start=1):
        if item in captions:
            raise MagicError(f"{path} record {number}: the id {item!r} stands twice; give all references of an image in one record")
        captions[item] = texts
        if name := _image_name(record, item):
            names[item] = name
    if not captions:
        raise MagicError(f"references={path}: holds no references; {_HINT}")
    return ReferenceSet(path, captions, names)


def _is_coco(document: Any) -> bool:
    return isinstance(document, Mapping) and isinstance(document.get("annotations"), list)


def _coco(document: Mapping[str, Any], path: Path) -> Iterator[tuple[str, tuple[str, ...], Mapping[str, Any]]]:
    """COCO's annotation file: captions apart from images. Images without captions are left out, as pycocotools does."""
    captions: dict[str, list[str]] = {}
    for number, annotation in enumerate(document["annotations"], start=1):
        if not isinstance(annotation, Mapping) or not isinstance(annotation.get("caption"), str) or "image_id" not in annotation:
            raise MagicError(f"{path} annotation {number}: needs image_id and caption, got {str(annotation)[:80]!r}")
        captions.setdefault(str(annotation["image_id"]), []).append(annotation["caption"])
    images: dict[str, Mapping[str, Any]] = {}
    for number, image in enumerate(document.get("images") or [], start=1):
        if not isinstance(image, Mapping) or "id" not in image:
            raise MagicError(f"{path} image {number}: needs an id, got {str(image)[:80]!r}")
        images[str(image["id"])] = image
    for item in dict.fromkeys([*images, *captions]):
        if item in captions:
            yield item, tuple(captions[item]), images.get(item, {})


def _records(document: Any, path: Path) -> Iterator[tuple[str, tuple[str, ...], Mapping[str, Any]]]:
    rows: list[tuple[str, tuple[str, ...], Mapping[str, Any]]] = []
    single: set[str] = set()
    for number, record in enumerate(records_of(document, path), start=1):
        place = f"{path} record {number}"
        if "sentences" in record:  # Karpathy's
            by_name = "cocoid" not in record and isinstance(record.get("filename"), str)
            item = Path(record["filename"]).stem if by_name else record_id(record, place)
            rows.append((item, reference_texts(record["sentences"], f"{place} (id {item!r}), sentences"), record))
            continue
        item = record_id(record, place)
        if key := first_key(record, REFERENCE_KEYS):
            rows.append((item, reference_texts(record[key], f"{place} (id {item!r}), {key}"), record))
        elif "caption" in record:  # one reference a record, or all in one
            rows.append((item, reference_texts(record["caption"], f"{place} (id {item!r}), caption"), record))
            single.add(item)
        else:
            raise MagicError(f"{place} (id {item!r}): no references (looked for {', '.join(REFERENCE_KEYS)}, caption); {_HINT}")
    if names := _images_of_numbered_rows(rows):
        rows = [(name, texts, record) for name, (_, texts, record) in zip(names, rows, strict=True)]
        single = set(names)
    joined: dict[str, tuple[list[str], Mapping[str, Any]]] = {}
    for item, texts, record in rows:
        if item in single:
            joined.setdefault(item, ([], record))[0].extend(texts)
        else:
            yield item, texts, record
    for item, (texts, record) in joined.items():
        yield item, tuple(texts), record


def _images_of_numbered_rows(rows: Sequence[tuple[str, tuple[str, ...], Mapping[str, Any]]]) -> list[str] | None:
    """The image of each row, where ``id`` is a running number of the rows and an image has several; None where ids are images'."""
    names = [_image_name(record, item) if first_key(record, ID_KEYS) == "id" else None for item, _, record in rows]
    has_several = len({item for item, _, _ in rows}) == len(rows) and len(set(names)) < len(rows)
    return names if has_several and None not in names else None


def _image_name(record: Mapping[str, Any], item: str) -> str | None:
    key = image_key(record)
    return image_path(record, key) if key and (key in IMAGE_KEYS or not is_image_name(item)) else None
