"""Parsing JSON from outside. Every fault is one kind of error, also those that Python's parser lets through."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

DEEPEST = 100
"""Deepest nesting of lists and objects: code that prints or writes a value recurses as deep."""

_BREAK = "\n"
_PARTS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[{]|[\]}]|\d+', re.DOTALL)


class JSONFault(ValueError):
    """A text is no JSON, or JSON that is refused.

    Attributes:
        problem: What is wrong, in words.
        line: Where, from 1; None: not known.
    """

    def __init__(self, problem: str, line: int | None = None) -> None:
        super().__init__(problem if line is None else f"line {line}: {problem}")
        self.problem, self.line = problem, line


def parse_json(text: str | bytes) -> Any:
    """Parse one JSON document. NaN and Infinity are read as Python writes them.

    Raises:
        JSONFault: It is not valid, gives a key twice, is nested more than ``DEEPEST`` deep, has a whole number without end, or
            needs more memory than there is.

    >>> parse_json('{"a": [1]}')
    {'a': [1]}
    >>> parse_json("[" * 1_000_000)
    Traceback (most recent call last):
        ...
    magic_cli.data.json_text.JSONFault: line 1: lists or objects are nested more than 100 deep (column 101)
    """
    try:
        text = text if isinstance(text, str) else text.decode("utf-8")
        document = json.loads(text, object_pairs_hook=_without_repeats)
    except json.JSONDecodeError as error:
        is_empty = not text or text.isspace()
        problem = "is empty" if is_empty else f"not valid JSON ({error.msg}, column {error.colno})"
        raise JSONFault(problem, error.lineno) from None
    except UnicodeDecodeError as error:
        raise JSONFault(f"not UTF-8 ({error.reason} at byte {error.start})") from None
    except JSONFault:
        raise
    except ValueError:  # Python refuses whole numbers that take long to read
        raise _located(text, f"a whole number has more than {sys.get_int_max_str_digits()} digits") from None
    except RecursionError:
        raise _too_deep(text) from None
    except MemoryError:
        raise JSONFault("needs more memory than there is; split it") from None
    if text.count("[") + text.count("{") > DEEPEST and _is_deep(document):
        raise _too_deep(text)
    return document


def parse_object(text: str | bytes) -> dict[str, Any]:
    """Parse one JSON object, such as a line of JSON lines.

    Raises:
        JSONFault: As ``parse_json``, or it is something else.
    """
    document = parse_json(text)
    if not isinstance(document, dict):
        raise JSONFault(f"must be a JSON object, got {str(document)[:60]!r}")
    return document


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """``json`` would silently keep the last of two equal keys."""
    document = dict(pairs)
    if len(document) < len(pairs):
        seen: set[str] = set()
        repeated = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise JSONFault(f"the key {repeated[:60]!r} stands twice in one object; remove one")
    return document


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
    """The fault at the first place that is nested too deep, or has too long a number."""
    depth = 0
    for part in _PARTS.finditer(text):
        first = part[0][0]
        depth += (first in "[{") - (first in "]}")
        if depth > DEEPEST or first.isdigit() and len(part[0]) > sys.get_int_max_str_digits():
            before = text[: part.start()]
            return JSONFault(f"{problem} (column {len(before) - before.rfind(_BREAK)})", before.count(_BREAK) + 1)
    return JSONFault(problem)
