"""The captions of an index, of every format that people have, and whose images they are, as far as that is known."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from magic_cli.data.bundled_coco import load_bundled_coco_captions
from magic_cli.data.image_names import identities, is_image_name
from magic_cli.data.json_files import read_json, read_records, whole_characters
from magic_cli.data.text_tables import ID_KEYS
from magic_cli.data.training_files import TextForm, flatten, read_plain
from magic_cli.errors import MagicError, SettingsError
from magic_cli.retrieval.settings import CaptionSource

_KEYS = ("caption", "captions", "text", "raw", "sentence")
_HINT = "see data/README.md for the formats"

Named = tuple[tuple[str, ...], str]
"""A caption and its image's ``identities``; none: not known."""


@dataclass(frozen=True)
class Captions:
    """Captions in their order, each once.

    Attributes:
        texts: The captions, white space collapsed.
        named: How many of the captions that were read say whose image they are.
        read: How many were read.
        of_image: Numbers of the captions that one image has and no other, by each of its ``identities``.
    """

    texts: list[str]
    named: int
    read: int
    of_image: dict[str, list[int]]

    @classmethod
    def of(cls, captions: Sequence[Named]) -> Captions:
        """Those that were read; of equal ones the first."""
        places: dict[str, int] = {}
        owners: list[tuple[str, ...]] = []
        for names, text in captions:
            place = places.setdefault(text, len(places))
            if place == len(owners):
                owners.append(names)
            elif owners[place] != names:
                owners[place] = ()  # several images have it
        of_image: dict[str, list[int]] = {}
        for place, names in enumerate(owners):
            for name in names:
                of_image.setdefault(name, []).append(place)
        return cls(list(places), sum(bool(names) for names, _ in captions), len(captions), of_image)

    def own(self, names: Iterable[str]) -> set[int]:
        """Numbers of the captions that only the image with these ``identities`` has."""
        return {number for name in names for number in self.of_image.get(name, ())}


def load_captions(settings: CaptionSource) -> Captions:
    """The captions, white space collapsed, without empty ones.

    Raises:
        MagicError: The file is missing, damaged, or holds no captions.
    """
    if settings.captions_file is None:
        every = (((f"coco:{image}",), text) for image, texts in load_bundled_coco_captions().items() for text in texts)
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
    """Reads a file of captions; what is wrong with it is told by the names of the settings."""

    def __init__(self, settings: CaptionSource) -> None:
        self._setting, self._split = settings.setting, settings.split

    def read(self, file: Path) -> Iterator[Named]:
        name, setting = file.name.removesuffix(".gz"), f"{self._setting}.captions_file"
        if name.endswith(".jsonl"):
            yield from self._of_records(read_records(file, setting=setting, hint=_HINT), file, _names_in)
        elif not name.endswith(".json"):
            yield from (((), text) for text in flatten(read_plain(file, TextForm.caption, setting=setting)))
        else:
            document = read_json(file, setting=setting, hint=_HINT)
            if isinstance(document, list):
                yield from self._of_records(document, file, _names_in)
            elif isinstance(document, dict) and "annotations" in document:
                yield from self._of_coco(document, file)
            elif isinstance(document, dict) and "images" in document:
                yield from self._of_karpathy(document, file)
            else:
                raise MagicError(f"{setting}={file}: neither Karpathy's nor COCO's format, nor a list of captions; {_HINT}")

    def _of_coco(self, document: dict[str, Any], file: Path) -> Iterator[Named]:
        """Captions of a COCO captions file; where its images have splits, those of one split only, so that no test caption is found."""
        try:
            images = {image["id"] if image.get("split") else image.get("id"): image for image in document.get("images", [])}
            split_of = {number: image["split"] for number, image in images.items() if image.get("split")}
            annotations = document["annotations"]
            if split_of:
                self._check_split(set(split_of.values()))
                annotations = [one for one in annotations if split_of.get(one["image_id"]) == self._split]

            def names_in(record: Any) -> tuple[str, ...]:
                number = record.get("image_id") if isinstance(record, Mapping) else None
                return identities(images.get(number, {}).get("file_name"), number)

            yield from self._of_records(annotations, file, names_in)
        except (KeyError, TypeError, AttributeError) as error:
            raise MagicError(f"{self._setting}.captions_file={file}: not as COCO's files are ({error}); {_HINT}") from error

    def _of_karpathy(self, document: dict[str, Any], file: Path) -> Iterator[Named]:
        try:
            self._check_split({image["split"] for image in document["images"]})
            for image in document["images"]:
                if image["split"] == self._split:
                    names = identities(image.get("filename"), image.get("cocoid"))
                    yield from ((names, sentence["raw"]) for sentence in image["sentences"])
        except (KeyError, TypeError) as error:
            raise MagicError(f"{self._setting}.captions_file={file}: not as Karpathy's files are ({error}); {_HINT}") from error

    def _check_split(self, known: set[str]) -> None:
        if self._split not in known:
            raise SettingsError(f"{self._setting}.split must be one of {', '.join(sorted(known))}, got {self._split!r}")

    def _of_records(self, records: Any, file: Path, names_in: Callable[[Any], tuple[str, ...]]) -> Iterator[Named]:
        """Captions of a list of texts, or of objects that have a caption or several."""
        for number, record in enumerate(records if isinstance(records, list) else [records], start=1):
            found = record
            if isinstance(record, dict):
                found = next((record[key] for key in _KEYS if key in record), None)
            texts = found if isinstance(found, list) else [found]
            if not all(isinstance(text, str) for text in texts):
                raise MagicError(f"{self._setting}.captions_file={file} record {number}: has no caption ({', '.join(_KEYS)}); {_HINT}")
            names = names_in(record)
            yield from ((names, text) for text in texts)


def _names_in(record: Any) -> tuple[str, ...]:
    """The ``identities`` of a record's image; none if it names no image."""
    keys = ID_KEYS if isinstance(record, Mapping) else ()
    found = next((record[key] for key in keys if isinstance(record.get(key), str | int) and record[key] != ""), None)
    return identities(found, None) if isinstance(found, str) and is_image_name(found) else identities(None, found)
