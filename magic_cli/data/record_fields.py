"""The meaning of a record's fields, whatever file it came from: an id, one text, or several texts.

All readers of captions, references, training texts and queries use this module, so that they all accept the same forms.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from magic_cli.data.listed_texts import texts_of
from magic_cli.errors import MagicError

# If a record has two ids, the earlier key counts: beside an image's id, `id` is a running number of the caption.
ID_KEYS = (
    "image_id", "img_id", "cocoid", "id", "image_key", "image_name", "file_name", "filename", "image", "image_path",
)  # fmt: skip
CAPTION_KEYS = ("caption", "prediction", "pred", "generated_caption", "generated_text", "hypothesis", "text", "story")
REFERENCE_KEYS = ("references", "captions", "refs", "gts", "reference")
OTHER_KEYS = ("raw", "sentence", "sentences")
"""Keys of the texts in Karpathy's files and in copies of them."""

_LAST_WHOLE = 2**53
"""Above it, a decimal number cannot represent every whole number."""
_SHOWN = 60


def item_id(value: Any, place: str) -> str:
    """An id as a text: ``7``, ``"7"`` and ``7.0`` (which spreadsheets write) are the same.

    Args:
        value: The value of the field.
        place: The field, for error messages.

    Raises:
        MagicError: The value is neither a text nor a whole number.
    """
    if isinstance(value, float) and math.isfinite(value) and value.is_integer() and abs(value) <= _LAST_WHOLE:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise MagicError(f"{place} must be a text or a whole number, got {str(value)[:_SHOWN]!r}")
    return str(value)


def one_text(value: Any, place: str) -> str:
    """The only text of a field: the value itself, or the one entry of a list, even of a printed list.

    Args:
        value: The value of the field.
        place: The record, a comma, and the field, for error messages.

    Raises:
        MagicError: The value is null, not a text, or several texts.
    """
    found = _texts(value, place)
    if isinstance(found, list) and len(found) == 1:
        [found] = found
    record, _, key = place.rpartition(", ")
    if found is None:
        raise MagicError(f"{record}: the {key} is null; write one, or leave the record out")
    if not isinstance(found, str):
        got = f"{len(found)} of them" if isinstance(found, list) else repr(found)[:_SHOWN]
        raise MagicError(f"{record}: {key} must be one text, got {got}")
    return found


def several_texts(value: Any, place: str) -> tuple[str, ...]:
    """The texts of a field: a text, a list of texts, or a list of objects with one text each; printed lists are parsed.

    Args:
        value: The value of the field.
        place: The field, for error messages.

    Raises:
        MagicError: The value is something else, or empty.
    """
    if value is None:
        raise MagicError(f"{place}: is null; write its texts, or leave the record out")
    found = _texts(value, place)
    texts = [found] if isinstance(found, str) else found
    if not isinstance(texts, list) or not texts:
        raise MagicError(f"{place}: must be a text or a list of texts, got {str(value)[:_SHOWN]!r}")
    for text in texts:
        if not isinstance(text, str):
            raise MagicError(f"{place}: every entry must be a text, got {str(text)[:_SHOWN]!r}")
    return tuple(texts)


def record_texts(record: Any, place: str) -> tuple[str, tuple[str, ...]]:
    """The texts of a record that is used for nothing else (its references, else its caption, else one of ``OTHER_KEYS``), and their key.

    Args:
        record: An object; or the text itself, with the key "".
        place: The record, for error messages.

    Raises:
        MagicError: It has no text, two keys of captions, or something other than texts.
    """
    if isinstance(record, str):
        return "", (record,)
    fields = {column_word(str(key)): value for key, value in record.items()} if isinstance(record, Mapping) else {}
    known = [key for key in (*REFERENCE_KEYS, *CAPTION_KEYS) if fields.get(key) is not None and fields[key] != []]
    known = known or [key for key in OTHER_KEYS if fields.get(key) is not None][:1]
    found = {key: several_texts(fields[key], f"{place}, {key}") for key in known}
    if not found:
        raise MagicError(f"{place}: has no text under {', '.join((*CAPTION_KEYS, *REFERENCE_KEYS))}; see docs/formats.md")
    key, *others = found
    if others and key in CAPTION_KEYS:
        raise MagicError(f"{place}: has {' and '.join(found)}, and it is unclear which one is the text; keep one of them")
    return key, found[key]


def split_of(record: Any) -> str | None:
    """The split that a record says it belongs to; None: it says none."""
    fields = record.items() if isinstance(record, Mapping) else ()
    return next((value for key, value in fields if column_word(str(key)) == "split" and isinstance(value, str) and value), None)


def first_key(record: Mapping[str, Any], keys: Sequence[str]) -> str | None:
    """The first of these keys that has a value in the record; None if none has."""
    return next((key for key in keys if record.get(key) is not None), None)


def column_word(name: str) -> str:
    """The key that a column's name stands for.

    >>> column_word("Image ID")
    'image_id'
    """
    return name.strip().lower().replace(" ", "_")


def _texts(value: Any, place: str) -> Any:
    try:
        return texts_of(value)
    except ValueError as error:
        problem = f"looks like a printed list of texts but is not one ({error}), got {str(value)[:_SHOWN]!r}"
        raise MagicError(f"{place}: {problem}; mend the record") from error
