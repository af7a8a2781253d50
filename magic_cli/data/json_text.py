"""Parses JSON from outside. Every fault becomes one kind of error, also those that Python's parser accepts."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

DEEPEST = 100
"""Deepest nesting of lists and objects: code that prints or writes a value needs as many nested calls."""

HALF_CHARACTER = re.compile("[\ud800-\udfff]")
"""What JSON can write and UTF-8 does not have; Python also puts it for bytes of file names that are not UTF-8."""
_BREAK = "\n"
_PARTS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[{]|[\]}]|\d+', re.DOTALL)


class JSONFault(ValueError):
    """A text is not JSON, or is refused.

    Attributes:
        problem: The fault, in words.
        line: The line of the fault, from 1; None: not known.
    """

    def __init__(self, problem: str, line: int | None = None) -> None:
        super().__init__(problem if line is None else f"line {line}: {problem}")
        self.problem, self.line = problem, line


def parse_json(text: str | bytes) -> Any:
    """Parse one JSON document. NaN and Infinity are read as Python writes them.

    Raises:
        JSONFault: It is not valid, repeats a key, is nested more than ``DEEPEST`` deep, has too long a whole number, or needs
            too much memory.

    >>> parse_json('{"a": [1]}')
    {'a': [1]}
    >>> parse_json("[" * 1_000_000)
    Traceback (most recent call last):
        ...
    magic_cli.data.json_text.JSONFault: line 1: lists or objects are nested more than 100 deep (column 101)
    """
    try:
        decoded = text if isinstance(text, str) else text.decode("utf-8")
        document = json.loads(decoded, object_pairs_hook=_without_repeats)
    except json.JSONDecodeError as error:
        is_empty = not text or text.isspace()
        problem = "is empty" if is_empty else f"not valid JSON ({error.msg}, column {error.colno})"
        raise JSONFault(problem, error.lineno) from None
    except UnicodeDecodeError as error:
        raise JSONFault(f"not UTF-8 ({error.reason} at byte {error.start})") from None
    except JSONFault:
        raise
    except ValueError:  # Python refuses whole numbers that take long to read
        raise _located(decoded, f"a whole number has more than {sys.get_int_max_str_digits()} digits") from None
    except RecursionError:
        raise _too_deep(decoded) from None
    except MemoryError:
        raise JSONFault("needs more memory than there is; split it") from None
    if decoded.count("[") + decoded.count("{") > DEEPEST and _is_deep(document):
        raise _too_deep(decoded)
    return document


def parse_object(text: str | bytes) -> dict[str, Any]:
    """Parse one JSON object, such as a line of JSON lines.

    Raises:
        JSONFault: It is not valid, or is not an object.
    """
    document = parse_json(text)
    if not isinstance(document, dict):
        raise JSONFault(f"must be a JSON object, got {str(document)[:60]!r}")
    return document


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A dict of the pairs. Raises for a repeated key, where ``json`` would silently keep the last value."""
    document = dict(pairs)
    if len(document) < len(pairs):
        seen: set[str] = set()
        for repeated, _ in pairs:
            if repeated in seen:
                break
            seen.add(repeated)
        raise JSONFault(f"the key {repeated[:60]!r} appears twice in one object; remove one")
    return document


def json_kind(value: Any) -> str:
    """What a value is called in JSON, for messages.

    >>> [json_kind(value) for value in (None, True, 1.5, "a", [1], {})]
    ['null', 'true', 'a number', 'a text', 'a list', 'an object']
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return (
        "a text"
        if isinstance(value, str)
        else "a list"
        if isinstance(value, list)
        else "an object"
        if isinstance(value, dict)
        else "a number"
    )


def _is_deep(document: Any) -> bool:
    level = [document] if type(document) in (dict, list) else []
    for _ in range(DEEPEST):
        level = [
            child
            for value in level
            for child in (value.values() if type(value) is dict else value)
            if type(child) in (dict, list)
        ]
        if not level:
            return False
    return True


def _too_deep(text: str) -> JSONFault:
    return _located(text, f"lists or objects are nested more than {DEEPEST} deep")


def _located(text: str, problem: str) -> JSONFault:
    """The fault, located at the first place that is nested too deep or has too long a number."""
    depth = 0
    for part in _PARTS.finditer(text):
        first = part[0][0]
        depth += (first in "[{") - (first in "]}")
        if depth > DEEPEST or first.isdigit() and len(part[0]) > sys.get_int_max_str_digits():
            before = text[: part.start()]
            return JSONFault(f"{problem} (column {len(before) - before.rfind(_BREAK)})", before.count(_BREAK) + 1)
    return JSONFault(problem)
