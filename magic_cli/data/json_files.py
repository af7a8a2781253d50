"""Reads JSON and JSON lines, plain or gzipped, for all commands. Its errors name the file and the line."""

from __future__ import annotations

import contextlib
import gc
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from magic_cli.data.json_text import HALF_CHARACTER, JSONFault, parse_json, parse_object
from magic_cli.data.paths import ending
from magic_cli.data.text_files import byte_lines, named, read_bytes, read_text, text_lines
from magic_cli.data.text_tables import parse_table
from magic_cli.errors import MagicError

LARGEST_DOCUMENT = 512 << 20
"""Most characters of a JSON document; the Python objects need several times as much memory."""
LONGEST_LINE = 32 << 20
"""Most characters of one line (one record) of JSON lines."""
MOST_VALUES = 50_000_000
"""Most brackets and commas of a JSON file; each may cost 100 bytes of memory. Karpathy's COCO file has about 12 million."""

_FIRST = re.compile(r"\s*(\S)")
_AGAIN = "download or export it again"


def read_json(path: Path | str, *, setting: str, hint: str) -> Any:
    """Parse a JSON file that the user names, by its path or address; ``.gz`` is unpacked.

    Raises:
        MagicError: The file is missing, unreadable, not JSON, or repeats a key; names the setting, the place and the remedy.
    """
    text = read_text(path, setting=setting, hint=hint)
    _refuse_crowded(text, named(setting, path))
    return _document(text, named(setting, path), _AGAIN)


def read_json_object(file: Path, *, remedy: str) -> dict[str, Any]:
    """Parse a file that magic itself wrote and that holds one object, such as a manifest.

    Args:
        file: The file.
        remedy: What to do if it is damaged.

    Raises:
        MagicError: It is missing, unreadable, or not a JSON object; one line with the file and the remedy.
    """
    document = _document(read_bytes(file, setting="", hint=remedy), str(file), remedy)
    if not isinstance(document, dict):
        raise MagicError(f"{file}: must hold a JSON object, but holds {str(document)[:60]!r}; {remedy}")
    return document


def read_json_lines(file: Path, *, remedy: str) -> list[dict[str, Any]]:
    """Parse a complete file of JSON lines that magic itself wrote.

    Raises:
        MagicError: It is missing, unreadable, or a line is not an object; one line with the file, the line and the remedy.
    """
    lines = text_lines(read_text(file, setting="", hint=remedy))
    return _records(lines, str(file), remedy, parse_object)


def read_records(path: Path, *, setting: str, hint: str, columns: Sequence[str] = ()) -> Any:
    """Parse a JSON file; a file with one JSON object per line, or a text table, gives a list of records.

    Args:
        path: The file.
        setting: The setting that names the file, for error messages.
        hint: The remedy if it has none of these forms.
        columns: Names of a table's columns that the user has told, beside the known ones.

    Raises:
        MagicError: As ``read_json``; names the line.
    """
    return parse_records(read_text(path, setting=setting, hint=hint), path, setting=setting, hint=hint, columns=columns)


def parse_records(text: str, path: Path, *, setting: str, hint: str, columns: Sequence[str] = ()) -> Any:
    """Parse the text of a file that has been read, as ``read_records`` does.

    Args:
        text: The content of the file.
        path: The file. If its name ends in ``.jsonl``, it holds lines, even if there is only one.
        setting: The setting that names the file, for error messages.
        hint: The remedy if it has none of these forms.
        columns: As in ``read_records``.

    Raises:
        MagicError: As ``read_json``; names the line.
    """
    place = named(setting, path)
    first = _FIRST.match(text)
    if first is None:
        raise MagicError(f"{place}: the file is empty; {hint}")
    if first[1] not in "[{" and not _is_document(text):
        return parse_table(text, place, hint, columns=columns)
    _refuse_crowded(text, place)
    if _are_lines(text, path):
        return _records(text_lines(text), place, _AGAIN, parse_json)
    return _document(text, place, _AGAIN)


def _refuse_crowded(text: str, place: str) -> None:
    if sum(map(text.count, "[{,")) > MOST_VALUES:
        raise MagicError(f"{place}: holds more than {MOST_VALUES // 1_000_000} million values; split it")


_UNREADABLE = "check the path and its permissions"


class GrowingLines:
    """A file of one JSON object a line that another process may be writing, or died writing; the file is left as it is.

    Iterating gives the objects one by one, and raises MagicError where the file cannot be read, or another line than the last is
    damaged; it names the line.

    Args:
        path: The file.
        setting: What the user calls it, for error messages.
        hint: What to do if a line is damaged.

    Attributes:
        unfinished: Once all have been read, how many unfinished lines at the end were left out: 0 or 1.
    """

    def __init__(self, path: Path, *, setting: str, hint: str) -> None:
        self._path, self._setting, self._hint = path, setting, hint
        self.unfinished = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self.unfinished, place = 0, named(self._setting, self._path)
        for number, line in enumerate(byte_lines(self._path, setting=self._setting, hint=_UNREADABLE), start=1):
            if not line.strip():
                continue
            if len(line) > LONGEST_LINE:
                raise MagicError(f"{place} line {number}: is one record of more than {LONGEST_LINE >> 20} MB; {self._hint}")
            try:
                record = parse_object(line)  # of the last line, only its line break may be missing
            except JSONFault as fault:
                if line.endswith(b"\n"):
                    raise MagicError(f"{place} line {number}: {fault.problem}; {self._hint}") from None
                if b"\r" in line.strip():  # never within a line that was cut off: JSON escapes it
                    problem = "carriage returns alone end its lines; write line feeds, as tr '\\r' '\\n' does"
                    raise MagicError(f"{place} line {number}: {problem}") from None
                self.unfinished = 1
                return
            yield record


def read_growing_lines(path: Path, *, setting: str, hint: str) -> tuple[list[dict[str, Any]], int]:
    """All of ``GrowingLines`` at once: the objects, and how many unfinished lines at the end were left out.

    Raises:
        MagicError: As it does.
    """
    lines = GrowingLines(path, setting=setting, hint=hint)
    with without_collection():
        records = list(lines)
    return records, lines.unfinished


def holds_json(text: str) -> bool:
    """Whether a text is JSON or JSON lines, judged by its beginning; a line that merely starts with a bracket is not.

    >>> [holds_json(text) for text in ('{"title": "A day"}', '["A day"]', "[Untitled]", "A day")]
    [True, True, False, False]
    """
    return re.match(r'\s*(\{|\[\s*[\[{"\]])', text) is not None


def whole_characters(text: str) -> str:
    """The text with U+FFFD for each half character (a lone surrogate: JSON can hold it, tokenizers refuse it).

    >>> whole_characters("a \\ud83d dog") == "a \\ufffd dog"
    True
    """
    return HALF_CHARACTER.sub("\ufffd", text)


def _document(text: str | bytes, place: str, remedy: str) -> Any:
    if len(text) > LARGEST_DOCUMENT:
        raise MagicError(f"{place}: is one JSON document of more than {LARGEST_DOCUMENT >> 20} MB; write JSON lines, or split it")
    try:
        with without_collection():
            return parse_json(text)
    except JSONFault as fault:
        where = "" if fault.line is None else f" line {fault.line}"
        raise MagicError(f"{place}{where}: {fault.problem}; {remedy}") from None


def _records(lines: Iterator[tuple[int, str]], place: str, remedy: str, parse: Callable[[str], Any]) -> list[Any]:
    """The records on the lines, each parsed by itself."""
    records = []
    with without_collection():
        for number, line in lines:
            if len(line) > LONGEST_LINE:
                raise MagicError(f"{place} line {number}: is one record of more than {LONGEST_LINE >> 20} MB; {remedy}")
            try:
                records.append(parse(line))
            except JSONFault as fault:
                raise MagicError(f"{place} line {number}: {fault.problem}; {remedy}") from None
    return records


@contextlib.contextmanager
def without_collection() -> Iterator[None]:
    """Pause the garbage collector: JSON has no cycles, and the search for them takes three quarters of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _are_lines(text: str, path: Path) -> bool:
    """Whether a text has one object per line: a single line is judged by the file's name, several by the first of them."""
    lines: Iterator[tuple[int, str]] = text_lines(text)
    _, first = next(lines)
    if next(lines, None) is None:
        return ending(path) == ".jsonl"
    if len(first) > LONGEST_LINE:  # too long to be parsed for this
        return first.lstrip().startswith("{") and first.rstrip().endswith("}")
    return _is_document(first, dict)


def _is_document(text: str, kind: type = object) -> bool:
    try:
        return isinstance(parse_json(text), kind)
    except JSONFault:
        return False
