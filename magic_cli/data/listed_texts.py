"""Texts in fields that hold the printed form of a list, an object or bytes."""

from __future__ import annotations

import ast
import re
import tokenize
import warnings
from collections.abc import Mapping
from io import StringIO
from typing import Any

from magic_cli.data.json_text import JSONFault, parse_json

TEXT_KEYS = ("caption", "generated_text", "raw", "text")
"""The keys of an object's text."""

_PRINTED = re.compile(
    r"(?:\[[\s\[({]*(?:b?['\"]|np\.str_\(|\])|\{\s*['\"]|\(\s*b?['\"]|b['\"]|array\(\[).*[\])}'\"]|\[\s*\]", re.DOTALL
)
"""How printed lists, objects, tuples, bytes and arrays begin and end. ``[UNK] a dog`` and ``[a dog]`` do not match."""


def texts_of(value: Any) -> Any:
    """The text in a field, or the list of texts; from objects, the value of one of ``TEXT_KEYS``.

    Any other value is returned as it is; the caller refuses it.

    Raises:
        ValueError: A text looks like a printed list but is ambiguous; says why.

    >>> texts_of("['a small dog']"), texts_of([[{"generated_text": "a dog"}]]), texts_of("b'a dog'")
    (['a small dog'], ['a dog'], 'a dog')
    >>> texts_of("[UNK] a dog"), texts_of('"Stop" (a sign)'), texts_of("[2]")
    ('[UNK] a dog', '"Stop" (a sign)', '[2]')
    >>> texts_of("['a dog' 'a cat']")
    Traceback (most recent call last):
        ...
    ValueError: no comma between two texts
    """
    if isinstance(value, str):
        value = _unprinted(value)
    while isinstance(value, list | tuple) and len(value) == 1 and isinstance(value[0], list | tuple):
        [value] = value
    return [_entry(entry) for entry in value] if isinstance(value, list | tuple) else _text(value)


def _entry(entry: Any) -> Any:
    text = _text(entry)
    found = texts_of(text) if isinstance(text, str) else text
    return found[0] if isinstance(found, list) and len(found) == 1 else found


def _text(value: Any) -> Any:
    if isinstance(value, Mapping):
        return next((value[key] for key in TEXT_KEYS if value.get(key) is not None), value)
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else value


def _unprinted(text: str) -> Any:
    """The value that a program printed as this text, by JSON's or Python's rules; any other text as it is."""
    stripped = text.strip()
    if not (_PRINTED.fullmatch(stripped) or (stripped.startswith("[") and stripped.endswith("]"))):
        return text
    try:
        value = parse_json(stripped)
        return value if _may_hold_texts(value) else text
    except JSONFault:
        pass  # not JSON: Python prints lists in another way
    try:
        with warnings.catch_warnings(action="ignore"):  # about backslashes
            value = ast.literal_eval(stripped)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        if _PRINTED.fullmatch(stripped) and stripped[0] in "[{a":  # a real caption may begin with a parenthesis or with b'
            raise ValueError("it begins and ends like one") from error
        return text
    if isinstance(value, str):  # a caption in brackets and quotes
        return text
    if _has_neighbours(stripped):  # Python would join them; numpy prints arrays without commas
        raise ValueError("no comma between two texts")
    return value if _may_hold_texts(value) else text


def _may_hold_texts(value: Any) -> bool:
    """Whether a printed value is more than numbers (a caption may be ``[2]``) and more than nothing (``[]``)."""
    return not isinstance(value, list | tuple) or any(not isinstance(entry, int | float) for entry in value)


def _has_neighbours(text: str) -> bool:
    kinds = [token.type for token in tokenize.generate_tokens(StringIO(text).readline) if token.type != tokenize.NL]
    return any(a == b == tokenize.STRING for a, b in zip(kinds, kinds[1:], strict=False))
