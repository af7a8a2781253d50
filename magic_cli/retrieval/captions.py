"""The captions that CLIPRe chooses from, of every format that people have."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from magic_cli.data.bundled_coco import load_bundled_coco_captions
from magic_cli.data.json_files import read_json, read_records, whole_characters
from magic_cli.data.training_files import TextForm, flatten, read_plain
from magic_cli.errors import MagicError, SettingsError
from magic_cli.retrieval.clipre import RELEASED, RELEASED_CAPTIONS, CaptionRetrieval

_KEYS = ("caption", "captions", "text", "raw", "sentence")
_HINT = "see data/README.md for the formats"


def load_captions(settings: CaptionRetrieval) -> list[str]:
    """The captions in their order, white space collapsed, each text once; without empty ones.

    Raises:
        MagicError: The file is missing, damaged, or holds no captions.
    """
    if settings.captions_file is None:
        every = [caption for captions in load_bundled_coco_captions().values() for caption in captions]
    else:
        every = list(_read(Path(settings.captions_file), settings.split))
    every = [text for text in (" ".join(whole_characters(caption).split()) for caption in every) if text]
    every = every[: settings.limit]
    if settings.index == RELEASED:
        every = every[:RELEASED_CAPTIONS]
    if not every:
        raise MagicError(f"decoding.captions_file={settings.captions_file}: holds no captions; {_HINT}")
    return list(dict.fromkeys(every))


def texts_digest(texts: Sequence[str]) -> str:
    """SHA-256 of a list of texts."""
    return hashlib.sha256(json.dumps(texts, ensure_ascii=False).encode(errors="surrogatepass")).hexdigest()


def _read(file: Path, split: str) -> Iterator[str]:
    name, setting = file.name.removesuffix(".gz"), "decoding.captions_file"
    if name.endswith(".jsonl"):
        yield from _of_records(read_records(file, setting=setting, hint=_HINT), file)
    elif not name.endswith(".json"):
        yield from flatten(read_plain(file, TextForm.caption, setting=setting))
    else:
        document = read_json(file, setting=setting, hint=_HINT)
        if isinstance(document, list):
            yield from _of_records(document, file)
        elif isinstance(document, dict) and "annotations" in document:
            yield from _of_records(_annotations(document, split, file), file)
        elif isinstance(document, dict) and "images" in document:
            yield from _of_karpathy(document, split, file)
        else:
            raise MagicError(f"{setting}={file}: neither Karpathy's nor COCO's format, nor a list of captions; {_HINT}")


def _annotations(document: dict[str, Any], split: str, file: Path) -> list[Any]:
    """Annotations of a COCO captions file; where its images have splits, those of one split only, so that no test caption is found."""
    try:
        split_of = {image["id"]: image["split"] for image in document.get("images", []) if image.get("split")}
        if not split_of:
            return document["annotations"]
        splits = sorted(set(split_of.values()))
        if split not in splits:
            raise SettingsError(f"decoding.split must be one of {', '.join(splits)}, got {split!r}")
        return [annotation for annotation in document["annotations"] if split_of.get(annotation["image_id"]) == split]
    except (KeyError, TypeError, AttributeError) as error:
        raise MagicError(f"decoding.captions_file={file}: not as COCO's files are ({error}); {_HINT}") from error


def _of_karpathy(document: dict[str, Any], split: str, file: Path) -> Iterator[str]:
    try:
        splits = sorted({image["split"] for image in document["images"]})
        if split not in splits:
            raise SettingsError(f"decoding.split must be one of {', '.join(splits)}, got {split!r}")
        for image in document["images"]:
            if image["split"] == split:
                yield from (sentence["raw"] for sentence in image["sentences"])
    except (KeyError, TypeError) as error:
        raise MagicError(f"decoding.captions_file={file}: not as Karpathy's files are ({error}); {_HINT}") from error


def _of_records(records: Any, file: Path) -> Iterator[str]:
    """Captions of a list of texts, or of objects that have a caption or several."""
    for number, record in enumerate(records if isinstance(records, list) else [records], start=1):
        found = record
        if isinstance(record, dict):
            found = next((record[key] for key in _KEYS if key in record), None)
        texts = found if isinstance(found, list) else [found]
        if not all(isinstance(text, str) for text in texts):
            raise MagicError(f"decoding.captions_file={file} record {number}: has no caption ({', '.join(_KEYS)}); {_HINT}")
        yield from texts
