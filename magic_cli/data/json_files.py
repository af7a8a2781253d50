"""Reading JSON and JSON lines, plain or gzipped, with errors that name the file and the line."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from pathlib import Path
from typing import Any

from magic_cli.data.paths import other_kind
from magic_cli.data.text_tables import parse_table
from magic_cli.errors import MagicError

_HALF = re.compile("[\ud800-\udfff]")
_GZIP = b"\x1f\x8b"


def read_json(path: Path, *, setting: str, hint: str) -> Any:
    """Parse a JSON file; ``.gz`` is unpacked.

    Raises:
        MagicError: The file is missing, unreadable, no JSON, or gives a key twice; names the setting, the place and the hint.
    """
    return _parse(read_text(path, setting=setting, hint=hint), f"{setting}={path}")


def read_records(path: Path, *, setting: str, hint: str) -> Any:
    """Parse a JSON file, or a file of one JSON object a line or a text table, which come back as a list of records.

    Raises:
        MagicError: As ``read_json``; names the line.
    """
    text, place = read_text(path, setting=setting, hint=hint), f"{setting}={path}"
    lines = _lines(text)
    if not lines:
        raise MagicError(f"{place}: the file is empty; {hint}")
    if lines[0][1].lstrip()[0] not in "[{" and _try_parse(text) is None:
        return parse_table(text, place, hint)
    if len(lines) == 1:  # parsed once: annotation files are hundreds of megabytes on one line
        document = _parse(text, place)
        return [document] if path.name.removesuffix(".gz").endswith(".jsonl") else document
    if not isinstance(_try_parse(lines[0][1]), dict):
        return _parse(text, place)
    return [_parse(line, place, number) for number, line in lines]


def read_text_lines(path: Path, *, setting: str, hint: str) -> list[str]:
    """The lines of a text file that are not blank; ``.gz`` is unpacked.

    Raises:
        MagicError: The file is missing or unreadable; names the setting, the place and the hint.
    """
    return [line.removesuffix("\r") for _, line in _lines(read_text(path, setting=setting, hint=hint))]


def read_growing_lines(path: Path, *, setting: str, hint: str) -> tuple[list[dict[str, Any]], int]:
    """Read a file of one JSON object a line that another process may be writing, or died writing; the file is left as it is.

    Returns:
        The objects, and how many unfinished lines at the end were left out: 0 or 1.

    Raises:
        MagicError: The file cannot be read, or another line than the last is damaged; names the line.
    """
    data = _read_bytes(path, setting=setting, hint=hint)
    complete = data.rfind(b"\n") + 1
    rest, place = data[complete:], f"{setting}={path}"
    records = [_parse(line, place, number) for number, line in _lines(_decoded(data[:complete], place, hint))]
    for number, record in enumerate(records, start=1):
        if not isinstance(record, dict):
            raise MagicError(f"{place} record {number}: must be a JSON object, got {str(record)[:60]!r}; remove that line")
    last = _try_parse(rest.decode("utf-8", errors="replace"))
    if isinstance(last, dict):  # whole, only its line break is missing
        return [*records, last], 0
    return records, int(bool(rest.strip()))


def holds_json(text: str) -> bool:
    """Whether a text is JSON, or JSON lines, by how it opens; a line that only opens with a bracket is not.

    >>> [holds_json(text) for text in ('{"title": "A day"}', '["A day"]', "[Untitled]", "A day")]
    [True, True, False, False]
    """
    return re.match(r'\s*(\{|\[\s*[\[{"\]])', text) is not None


def whole_characters(text: str) -> str:
    """A text in which half characters (lone surrogates, which JSON can hold and tokenizers refuse) are U+FFFD.

    >>> whole_characters("a \\ud83d dog") == "a \\ufffd dog"
    True
    """
    return _HALF.sub("\ufffd", text)


def _lines(text: str) -> list[tuple[int, str]]:
    """Lines that are not blank, with their numbers. ``splitlines()`` would also cut at U+2028 within a caption."""
    return [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]


def read_text(path: Path, *, setting: str, hint: str) -> str:
    """The text of a file; ``.gz`` is unpacked.

    Raises:
        MagicError: The file is missing or unreadable; names the setting and the hint.
    """
    return _decoded(_read_bytes(path, setting=setting, hint=hint), f"{setting}={path}", hint)


def _read_bytes(path: Path, *, setting: str, hint: str) -> bytes:
    path = path.expanduser()
    try:
        if (kind := other_kind(path)) is not None and not _is_of_shell(path, kind):
            raise MagicError(f"{setting}={path}: is a {kind}, not a file; {hint}")
        data = path.read_bytes()
        return gzip.decompress(data) if data.startswith(_GZIP) else data
    except FileNotFoundError:
        raise MagicError(f"{setting}={path}: no such file (looked at {path.absolute()}); {hint}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise MagicError(f"{setting}={path}: cannot be read ({error}); {hint}") from error


def _is_of_shell(path: Path, kind: str) -> bool:
    """Whether a path is a pipe that a shell has made for us, as ``<(command)`` or standard input: its end comes."""
    return kind == "named pipe" and (str(path) == "/dev/stdin" or path.parent in (Path("/dev/fd"), Path("/proc/self/fd")))


def _decoded(data: bytes, place: str, hint: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MagicError(f"{place}: cannot be read ({error}); {hint}") from error


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
