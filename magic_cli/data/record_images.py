"""The image that a record names: under a key made for it, or else in any text that ends like an image file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from magic_cli.data.image_names import is_image_name
from magic_cli.data.record_fields import CAPTION_KEYS, ID_KEYS, REFERENCE_KEYS

IMAGE_KEYS = ("image", "image_path", "image_name", "file_name", "filename")
"""Keys that name the image, whatever their value looks like."""
_IMAGE_WORDS = frozenset({"image", "img", "photo", "picture", "file", "filename", "filepath", "path", "name"})
"""A key made of these words alone (``file``, ``img_path``, ``photoFile``) also counts if its value is an image file."""
_FOLDER_KEYS = ("file_path", "filepath")
_LONGEST_PATH = 4096  # a longer text is the content of an image
_OTHER_TEXTS = (*CAPTION_KEYS, *REFERENCE_KEYS, *ID_KEYS[:4], "title")
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|\d+")


def named_image(record: Mapping[str, Any]) -> tuple[str, str] | None:
    """The key under which a record names its image, and the image file; None if it does not.

    >>> named_image({"id": 1, "img_path": "a.jpg", "heatmap": "b.png"}), named_image({"id": 1, "heatmap": "b.png"})
    (('img_path', 'a.jpg'), None)
    """
    texts = _texts(record)
    key = next((key for key in IMAGE_KEYS if texts.get(key)), None)
    key = key or next((key for key, text in texts.items() if _says_image(key) and is_image_name(text)), None)
    return None if key is None else (key, _with_folder(record, key, texts[key]))


def guessed_image(record: Mapping[str, Any]) -> str | None:
    """An image file under any other key. It may find an image if nothing else does; it never contradicts a better name."""
    return next((text for key, text in _texts(record).items() if key not in _OTHER_TEXTS and is_image_name(text)), None)


def _texts(record: Mapping[str, Any]) -> dict[str, str]:
    return {key: value.strip() for key, value in record.items() if isinstance(value, str) and len(value) <= _LONGEST_PATH}


def _says_image(key: str) -> bool:
    words = {word.lower() for word in _WORD.findall(str(key))}
    return bool(words) and words <= _IMAGE_WORDS and words != {"name"}


def _with_folder(record: Mapping[str, Any], key: str, name: str) -> str:
    """The image file, in the folder that the released files and Karpathy's give in another field."""
    folder = next((record[other] for other in _FOLDER_KEYS if isinstance(record.get(other), str) and record[other]), None)
    if folder is None or key in _FOLDER_KEYS:
        return name
    return folder if is_image_name(folder) else f"{folder}/{name}"
