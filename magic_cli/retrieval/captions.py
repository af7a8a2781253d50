"""The captions of an index, in any known format, and the images they belong to, as far as that is known."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from magic_cli.data.annotations import coco_captions, coco_images, is_coco, karpathy_images
from magic_cli.data.bundled_coco import load_bundled_coco_captions
from magic_cli.data.image_names import identities, is_image_name
from magic_cli.data.json_files import read_records, whole_characters
from magic_cli.data.paths import ending
from magic_cli.data.record_fields import ID_KEYS, item_id, record_texts, split_of
from magic_cli.data.record_forms import listed_records
from magic_cli.data.training_files import TextForm, flatten, read_plain
from magic_cli.errors import MagicError, SettingsError
from magic_cli.retrieval.settings import CaptionSource

_HINT = "see docs/formats.md for the formats"

Named = tuple[tuple[str, ...], str]
"""A caption and the ``identities`` of its image; these are empty if the image is not known."""


@dataclass(frozen=True)
class Captions:
    """Captions in order, without duplicates.

    Attributes:
        texts: The captions, white space collapsed.
        named: How many of the captions in the file name an image.
        read: How many captions the file holds.
        of_image: For each of an image's ``identities``, the positions of the captions that no other image has.
    """

    texts: list[str]
    named: int
    read: int
    of_image: dict[str, list[int]]

    @classmethod
    def of(cls, captions: Sequence[Named]) -> Captions:
        """The captions without duplicates; the first of equal ones stays."""
        places: dict[str, int] = {}
        owners: list[tuple[str, ...]] = []
        for names, text in captions:
            place = places.setdefault(text, len(places))
            if place == len(owners):
                owners.append(names)
            elif owners[place] != names:
                owners[place] = ()  # it belongs to several images
        of_image: dict[str, list[int]] = {}
        for place, names in enumerate(owners):
            for name in names:
                of_image.setdefault(name, []).append(place)
        return cls(list(places), sum(bool(names) for names, _ in captions), len(captions), of_image)

    def own(self, names: Iterable[str]) -> set[int]:
        """Positions of the captions that only the image with these ``identities`` has."""
        return {number for name in names for number in self.of_image.get(name, ())}


def load_captions(settings: CaptionSource) -> Captions:
    """The captions, white space collapsed, without empty ones.

    Raises:
        MagicError: The file is missing, damaged, or holds no captions.
    """
    if settings.captions_file is None:
        every: Iterator[Named] = (
            ((f"coco:{image}",), text) for image, texts in load_bundled_coco_captions().items() for text in texts
        )
    else:
        every = _Reader(settings).read(Path(settings.captions_file))
    cleaned = ((names, " ".join(whole_characters(caption).split())) for names, caption in every)
    captions = [(names, text) for names, text in cleaned if text][: settings.most]
    if not captions:
        raise MagicError(f"{settings.setting}.captions_file={settings.captions_file}: holds no captions; {_HINT}")
    return Captions.of(captions)


def texts_digest(texts: Sequence[str]) -> str:
    """SHA-256 of a list of texts."""
    return hashlib.sha256(json.dumps(texts, ensure_ascii=False).encode(errors="surrogatepass")).hexdigest()


class _Reader:
    """Reads a file of captions; its errors name the user's settings."""

    def __init__(self, settings: CaptionSource) -> None:
        self._setting, self._split = settings.setting, settings.split

    def read(self, file: Path) -> Iterator[Named]:
        form, setting = ending(file), f"{self._setting}.captions_file"
        place = f"{setting}={file}"
        if form == ".jsonl":
            return self._of_records(read_records(file, setting=setting, hint=_HINT), place)
        if form != ".json":
            texts = flatten(read_plain(file, TextForm.caption, setting=setting, choose=self._are_read))
            return (((), text) for text in texts)
        document = read_records(file, setting=setting, hint=_HINT)
        if is_coco(document):
            return self._of_coco(document, place)
        if isinstance(document, dict) and "images" in document:
            return self._of_karpathy(document, place)
        records = listed_records(document, surely=True)
        if isinstance(records, list):
            return self._of_records(records, place)
        raise MagicError(f"{place}: neither Karpathy's nor COCO's format, nor captions; {_HINT}")

    def _of_coco(self, document: Any, place: str) -> Iterator[Named]:
        """Captions of a COCO captions file. If its images have splits, the other splits are left out, test captions above all."""
        images = {image.id: image for image in coco_images(document, place)}
        has_splits = self._check_split({image.split for image in images.values() if image.split})
        for number, texts in coco_captions(document, place):
            if not has_splits or images[number].split == self._split:
                names = identities(images[number].file_name, number)
                yield from ((names, text) for text in texts)

    def _of_karpathy(self, document: Any, place: str) -> Iterator[Named]:
        images = list(karpathy_images(document, place, needs=["split"]))
        self._check_split({image.split for image in images if image.split})
        for image in images:
            if image.split == self._split:
                names = identities(image.file_name, image.record.get("cocoid"))
                yield from ((names, text) for text in image.captions)

    def _of_records(self, records: Any, place: str) -> Iterator[Named]:
        """Captions from a list of texts, or of objects with one or several captions."""
        records = records if isinstance(records, list) else [records]
        for number, (record, is_read) in enumerate(zip(records, self._are_read(records), strict=True), start=1):
            if is_read:
                where = f"{place} record {number}"
                _, texts = record_texts(record, where)
                names = _names_in(record, where)
                yield from ((names, text) for text in texts)

    def _are_read(self, records: Sequence[Any]) -> list[bool]:
        """For each record whether it is read: all are, or those of the chosen split if they have splits; test captions are not."""
        splits = [split_of(record) for record in records]
        has_splits = self._check_split({split for split in splits if split})
        return [not has_splits or split == self._split for split in splits]

    def _check_split(self, known: set[str]) -> bool:
        """Whether the images have splits.

        Raises:
            SettingsError: They have, and the chosen split is not among them.
        """
        if known and self._split not in known:
            raise SettingsError(f"{self._setting}.split must be one of {', '.join(sorted(known))}, got {self._split!r}")
        return bool(known)


def _names_in(record: Any, place: str) -> tuple[str, ...]:
    """The ``identities`` of a record's image; none if it names no image."""
    keys = ID_KEYS if isinstance(record, Mapping) else ()
    key = next((key for key in keys if record.get(key) not in (None, "")), None)
    if key is None:
        return ()
    found = item_id(record[key], f"{place}: {key}")
    return identities(found, None) if is_image_name(found) else identities(None, found)
