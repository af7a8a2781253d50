"""Reading JSON and JSON lines, plain or gzipped, with errors that name the file and the line."""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path
from typing import Any

from magic_cli.data.text_tables import parse_table
from magic_cli.errors import MagicError

_GZIP = b"\x1f\x8b"


def read_json(path: Path, *, setting: str, hint: str) -> Any:
    """Parse a JSON file; ``.gz`` is unpacked.

    Raises:
        MagicError: The file is missing, unreadable, no JSON, or gives a key twice; names the setting, the place and the hint.
    """
    return _parse(_read_text(path, setting=setting, hint=hint), f"{setting}={path}")


def read_records(path: Path, *, setting: str, hint: str) -> Any:
    """Parse a JSON file, or a file of one JSON object a line or a text table, which come back as a list of records.

    Raises:
        MagicError: As ``read_json``; names the line.
    """
    text = _read_text(path, setting=setting, hint=hint)
    lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    if not lines:
        raise MagicError(f"{setting}={path}: the file is empty; {hint}")
    if lines[0][1].lstrip()[0] not in "[{" and _try_parse(text) is None:
        return parse_table(text, f"{setting}={path}", hint)
    first = _try_parse(lines[0][1])
    if not isinstance(first, dict) or len(lines) == 1:
        document = _parse(text, f"{setting}={path}")
        return [document] if len(lines) == 1 and path.name.removesuffix(".gz").endswith(".jsonl") else document
    return [_parse(line, f"{setting}={path}", number) for number, line in lines]


def _read_text(path: Path, *, setting: str, hint: str) -> str:
    path = path.expanduser()
    try:
        data = path.read_bytes()
        if data.startswith(_GZIP):
            data = gzip.decompress(data)
        return data.decode("utf-8-sig")
    except FileNotFoundError:
        raise MagicError(f"{setting}={path}: no such file (looked at {path.absolute()}); {hint}") from None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise MagicError(f"{setting}={path}: cannot be read ({error}); {hint}") from error


def _parse(text: str, place: str, line: int | None = None) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_without_repeats)
    except json.JSONDecodeError as error:
        raise MagicError(f"{place} line {line or error.lineno}: not valid JSON ({error.msg}); download or export it again") from error
    except _RepeatedKey as error:
        where = f" line {line}" if line else ""
        raise MagicError(f"{place}{where}: the key {error.args[0]!r} stands twice in one object; remove one") from None


def _try_parse(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return None


class _RepeatedKey(Exception):
    """``json`` would silently keep the last of two equal keys."""


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        seen: set[str] = set()
        raise _RepeatedKey(next(key for key, _ in pairs if key in seen or seen.add(key)))
    return document
