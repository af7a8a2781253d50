"""Texts in fields where a program has printed a list, an object or bytes."""

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
"""The keys under which an object has its text."""

_PRINTED = re.compile(
    r"(?:\[[\s\[({]*(?:b?['\"]|np\.str_\(|\])|\{\s*['\"]|\(\s*b?['\"]|b['\"]|array\(\[).*[\])}'\"]|\[\s*\]", re.DOTALL
)
"""How printed lists, objects, tuples, bytes and arrays open and end; ``[UNK] a dog`` and ``[a dog]`` are none."""


def texts_of(value: Any) -> Any:
    """The text that a field holds, or the list of texts: of objects the one under a key of ``TEXT_KEYS``.

    Anything that is not a text stays as it is; the caller refuses it.

    Raises:
        ValueError: A text looks like a printed list, but cannot be read without doubt; says why.

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
    """What a program has printed as this text, by JSON's or Python's rules; any other text as it is."""
    stripped = text.strip()
    if not (_PRINTED.fullmatch(stripped) or (stripped.startswith("[") and stripped.endswith("]"))):
        return text
    try:
        value = parse_json(stripped)
        return value if _may_hold_texts(value) else text
    except JSONFault:
        pass  # not JSON: Python prints lists otherwise
    try:
        with warnings.catch_warnings(action="ignore"):  # of backslashes
            value = ast.literal_eval(stripped)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        if _PRINTED.fullmatch(stripped) and stripped[0] in "[{a":  # a caption may well open with a bracket or with b'
            raise ValueError("it opens and ends like one") from error
        return text
    if isinstance(value, str):  # a caption in brackets and quotes
        return text
    if _has_neighbours(stripped):  # Python would join them; numpy prints lists like this
        raise ValueError("no comma between two texts")
    return value if _may_hold_texts(value) else text


def _may_hold_texts(value: Any) -> bool:
    """Whether something printed is more than numbers, as in a caption ``[2]``, or nothing, ``[]``."""
    return not isinstance(value, list | tuple) or any(not isinstance(entry, int | float) for entry in value)


def _has_neighbours(text: str) -> bool:
    kinds = [token.type for token in tokenize.generate_tokens(StringIO(text).readline) if token.type != tokenize.NL]
    return any(a == b == tokenize.STRING for a, b in zip(kinds, kinds[1:], strict=False))
