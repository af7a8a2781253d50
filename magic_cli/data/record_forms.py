"""The forms in which a JSON document may hold records: a list, an object by id, columns, a single record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from magic_cli.data.image_names import is_image_name
from magic_cli.data.record_fields import CAPTION_KEYS, ID_KEYS, OTHER_KEYS, REFERENCE_KEYS, column_word, first_key
from magic_cli.data.record_images import named_image

_LISTS = ("annotations", "predictions", "results", "data", "images")
_ONE_TEXT = (*CAPTION_KEYS, "raw", "sentence")
_KNOWN = frozenset((*ID_KEYS, *CAPTION_KEYS, *REFERENCE_KEYS, *OTHER_KEYS, "title", "split"))


def listed_records(document: Any, *, id_key: str | None = None, caption_key: str | None = None, surely: bool = False) -> Any:
    """The list of records that a document holds; a document of an unknown form as it is.

    An object may be columns, as pandas writes them; or a record, if it has a text; or hold a list of records under one of ``_LISTS``;
    or give for each id a text, texts, or a record. Then the key is the id, unless the record itself has the id of an image, or an
    ``id`` below the number of its row.

    Args:
        document: The parsed document.
        id_key: The key of the id that the user has named, beside the known ones.
        caption_key: The key of the caption that the user has named.
        surely: The keys of an object are ids only if all look like ids: each is an image file's name or holds a digit.

    >>> listed_records({"results": [{"id": 1}]}), listed_records({"a.jpg": "a dog"})
    ([{'id': 1}], [{'id': 'a.jpg', 'caption': 'a dog'}])
    >>> listed_records({"7": {"id": 1, "caption": "a dog"}}), listed_records({"0": {"image_id": 7, "caption": "a dog"}})
    ([{'id': '7', 'caption': 'a dog'}], [{'image_id': 7, 'caption': 'a dog'}])
    >>> listed_records({"id": {"0": 7, "1": 8}, "Caption": {"0": "a dog", "1": "a cat"}})
    [{'id': 7, 'caption': 'a dog'}, {'id': 8, 'caption': 'a cat'}]
    >>> listed_records({"id": 7, "caption": "a dog"}), listed_records({"7": 5}), listed_records({"name": "x"}, surely=True)
    ([{'id': 7, 'caption': 'a dog'}], {'7': 5}, {'name': 'x'})
    """
    if not isinstance(document, Mapping):
        return document
    told_id, told_text = (None if key is None else column_word(key) for key in (id_key, caption_key))
    words = {column_word(str(key)): value for key, value in document.items() if value is not None}
    ids, one_text = {*ID_KEYS, told_id}, {*_ONE_TEXT, told_text}
    if (rows := _rows(document, words, ids, one_text)) is not None:
        return rows
    has_text = not words.keys().isdisjoint({*one_text, *REFERENCE_KEYS, *OTHER_KEYS})
    if has_text and not words.keys().isdisjoint(ids):
        return [document]
    for key in _LISTS:
        entries = document.get(key)
        if isinstance(entries, list) and all(isinstance(entry, Mapping) for entry in entries) and (entries or not has_text):
            return entries
    if has_text:
        return [document]
    if not words.keys().isdisjoint({*_KNOWN, *_LISTS, *ids}) or (surely and not all(map(_is_surely_id, document))):
        return document
    values = list(document.values())
    if all(isinstance(value, str | list) for value in values):
        return [{"id": key, "caption": value} for key, value in document.items()]
    if all(isinstance(value, Mapping) for value in values):
        are_rows = list(document) == [str(number) for number in range(len(document))]
        return [_with_key(key, record, told_id, is_row=are_rows) for key, record in document.items()]
    return document


def _rows(
    document: Mapping[str, Any], words: Mapping[str, Any], ids: set[Any], one_text: set[Any]
) -> list[dict[str, Any]] | None:
    """The rows of a table that is written by columns; None: the document is none.

    Lists are columns if they are equally long and one of them holds ids, titles, or the only text of each row: references alone may be
    those of a single record.
    """
    columns = list(document.values())
    names = [word if (word := column_word(str(key))) in _KNOWN else key for key in document]
    if len(set(names)) < len(names):
        names = list(document)
    if words.keys().isdisjoint({*ids, *one_text, *REFERENCE_KEYS, *OTHER_KEYS, "title"}):
        return None
    if all(isinstance(column, Mapping) and column.keys() == columns[0].keys() for column in columns):
        return [dict(zip(names, (column[row] for column in columns), strict=True)) for row in columns[0]]
    if words.keys().isdisjoint({*ids, *one_text, "title"}):
        return None
    if all(isinstance(column, list) and len(column) == len(columns[0]) for column in columns):
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    return None


def _with_key(key: str, record: Mapping[str, Any], told_id: str | None, *, is_row: bool) -> Mapping[str, Any]:
    """The record that stands under a key, with its id. What the user has named, and the id of an image, are never replaced."""
    if told_id is not None and any(column_word(str(name)) == told_id for name in record):
        return record
    own = first_key(record, ID_KEYS)
    if own is None or (own == "id" and (is_image_name(key) or not is_row)):
        return {"id": key, **{name: value for name, value in record.items() if name != "id"}}
    return {**record, "file_name": key} if is_image_name(key) and named_image(record) is None else record


def _is_surely_id(key: str) -> bool:
    """Whether a key is hardly anything else than an id: ``name`` and ``train`` are not surely ids, nor is a title with spaces."""
    return is_image_name(key) or (" " not in key and any(letter.isdecimal() for letter in key))
