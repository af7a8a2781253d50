"""The forms in which a JSON document may hold records: a list, an object by id, columns, a single record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from magic_cli.data.record_fields import CAPTION_KEYS, ID_KEYS, REFERENCE_KEYS, first_key

_LISTS = ("annotations", "predictions", "results", "data", "images")
_TEXT_KEYS = (*CAPTION_KEYS, *REFERENCE_KEYS)


def listed_records(document: Any) -> Any:
    """The list of records that a document holds; a document of an unknown form as it is.

    An object holds a list under one of ``_LISTS``; or columns, as pandas writes them; or is itself a record, if it has a text; or
    gives for each id a text, texts, or a record. A record's own id counts before the key that it stands under, as with row numbers.

    >>> listed_records({"results": [{"id": 1}]}), listed_records({"a.jpg": "a dog"})
    ([{'id': 1}], [{'id': 'a.jpg', 'caption': 'a dog'}])
    >>> listed_records({"7": {"caption": "a dog"}}), listed_records({"0": {"image_id": 7, "caption": "a dog"}})
    ([{'id': '7', 'caption': 'a dog'}], [{'image_id': 7, 'caption': 'a dog'}])
    >>> listed_records({"id": {"0": 7, "1": 8}, "caption": {"0": "a dog", "1": "a cat"}})
    [{'id': 7, 'caption': 'a dog'}, {'id': 8, 'caption': 'a cat'}]
    >>> listed_records({"id": 7, "caption": "a dog"}), listed_records({"7": 5})
    ([{'id': 7, 'caption': 'a dog'}], {'7': 5})
    """
    if not isinstance(document, Mapping):
        return document
    for key in _LISTS:
        if isinstance(document.get(key), list):
            return document[key]
    if (rows := _rows(document)) is not None:
        return rows
    if first_key(document, _TEXT_KEYS):
        return [document]
    if all(isinstance(value, str | list) for value in document.values()):
        return [{"id": key, "caption": value} for key, value in document.items()]
    if all(isinstance(value, Mapping) for value in document.values()):
        return [value if first_key(value, ID_KEYS) else {"id": key, **value} for key, value in document.items()]
    return document


def _rows(document: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """The rows of a table that is written by columns, one of ids and one of texts; None: the document is none."""
    if not (first_key(document, ID_KEYS) and first_key(document, _TEXT_KEYS)):
        return None
    columns = list(document.values())
    if all(isinstance(column, list) and len(column) == len(columns[0]) for column in columns):
        return [dict(zip(document, row, strict=True)) for row in zip(*columns, strict=True)]
    if all(isinstance(column, Mapping) and column.keys() == columns[0].keys() for column in columns):
        return [{name: column[row] for name, column in document.items()} for row in columns[0]]
    return None
