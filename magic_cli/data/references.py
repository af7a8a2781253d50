"""Reference captions from the files in which people have them, and the names by which an image may be called."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from magic_cli.data.images import IMAGE_SUFFIXES
from magic_cli.data.json_files import read_records
from magic_cli.data.predictions import IMAGE_KEYS, record_id, records_of, reference_texts
from magic_cli.data.text_tables import REFERENCE_KEYS
from magic_cli.errors import MagicError, SettingsError

_HINT = "give a COCO or Karpathy annotation file, JSON lines {id, references} or an object {id: [captions]} (data/README.md shows each)"
_COCO_NAME = re.compile(r"(?:COCO_\w+_)?(\d{12})")


@dataclass(frozen=True)
class ReferenceSet:
    """References of images, in the file's order."""

    source: Path
    captions: dict[str, tuple[str, ...]]
    image_names: dict[str, str] = field(default_factory=dict)
    """Image file of the ids for which the file names one."""

    def __post_init__(self) -> None:
        names: dict[str, str | None] = {}
        for item in self.captions:
            for name in {alias for own in (item, self.image_names.get(item)) if own for alias in aliases(own)}:
                names[name] = item if name not in names else None  # a name that fits two images fits none
        object.__setattr__(self, "_names", names)

    def find(self, names: Iterable[str]) -> str | None:
        """The id of the image that goes by one of these names; None if there is no such image."""
        names = list(names)
        exact = next((name for name in names if name in self.captions), None)
        if exact is not None:
            return exact
        return next((found for name in names for alias in aliases(name) if (found := self._names.get(alias)) is not None), None)


def aliases(name: str) -> list[str]:
    """Other names of an image: file name without folder, without suffix, and COCO's number.

    >>> aliases("val2014/COCO_val2014_000000391895.jpg")
    ['val2014/COCO_val2014_000000391895.jpg', 'COCO_val2014_000000391895.jpg', 'COCO_val2014_000000391895', '391895']
    """
    base = name.rpartition("/")[2]
    stem = Path(base).stem if Path(base).suffix.lower() in IMAGE_SUFFIXES else base
    found = [name, base, stem]
    if match := _COCO_NAME.fullmatch(stem):
        found.append(str(int(match[1])))
    return list(dict.fromkeys(found))


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
        name = next((record[key] for key in IMAGE_KEYS if isinstance(record.get(key), str)), None)
        if name is not None:
            folder = record.get("filepath")
            names[item] = f"{folder}/{name}" if isinstance(folder, str) else name
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
    single: dict[str, tuple[list[str], Mapping[str, Any]]] = {}
    for number, record in enumerate(records_of(document, path), start=1):
        place = f"{path} record {number}"
        if "sentences" in record:  # Karpathy's
            by_name = "cocoid" not in record and isinstance(record.get("filename"), str)
            item = Path(record["filename"]).stem if by_name else record_id(record, place)
            yield item, reference_texts(record["sentences"], f"{place} (id {item!r}), sentences"), record
            continue
        item = record_id(record, place)
        if key := next((key for key in REFERENCE_KEYS if record.get(key) is not None), None):
            yield item, reference_texts(record[key], f"{place} (id {item!r}), {key}"), record
        elif "caption" in record:  # one reference a record, or all in one
            single.setdefault(item, ([], record))[0].extend(reference_texts(record["caption"], f"{place} (id {item!r}), caption"))
        else:
            raise MagicError(f"{place} (id {item!r}): no references (looked for {', '.join(REFERENCE_KEYS)}, caption); {_HINT}")
    for item, (texts, record) in single.items():
        yield item, tuple(texts), record
