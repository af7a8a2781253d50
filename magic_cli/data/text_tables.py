"""Captions in text tables: ``name<TAB>caption``, Flickr's ``name#0<TAB>caption``, and files with a header line."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from typing import Any

from magic_cli.errors import MagicError

_HEADER_WORDS = {"id", "image", "image_id", "image_key", "image_name", "file_name", "filename"}
_NUMBERED = re.compile(r"(.+\.\w+)#\d+")


def parse_table(text: str, place: str, hint: str) -> list[dict[str, Any]]:
    """Records ``{"id", "caption"}`` of a table with tabs, or the columns of a table with a header and ``,`` or ``|`` between.

    A caption may be a JSON list of ``{"caption"}``, as some captioners write; ``#0`` behind an image's name is cut off.

    Raises:
        MagicError: The text is no such table; names the line.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    if "\t" in lines[0]:
        return _tabs(lines, place)
    delimiter = "|" if "|" in lines[0] else ","
    names = [name.strip() for name in next(csv.reader([lines[0]], delimiter=delimiter))]
    if len(names) < 2 or names[0].lower() not in _HEADER_WORDS:
        raise MagicError(f"{place}: neither JSON nor a table of captions (first line {lines[0][:60]!r}); {hint}")
    records = []
    for number, row in enumerate(csv.reader(lines[1:], delimiter=delimiter, skipinitialspace=True), start=2):
        if len(row) < len(names):
            raise MagicError(f"{place} line {number}: has {len(row)} of the {len(names)} columns {', '.join(names)}; mend the line")
        cells = [*row[: len(names) - 1], delimiter.join(row[len(names) - 1 :])]  # commas of an unquoted caption, which comes last
        records.append({_column(name): cell.strip() for name, cell in zip(names, cells, strict=True)})
    return records


def _column(name: str) -> str:
    return "caption" if name.lower() == "comment" else name  # Flickr30k's results.csv


def _tabs(lines: Sequence[str], place: str) -> list[dict[str, Any]]:
    records = []
    for number, line in enumerate(lines, start=1):
        name, tab, caption = line.partition("\t")
        if not tab:
            raise MagicError(f"{place} line {number}: no tab between image and caption ({line[:60]!r}); mend the line")
        if number == 1 and name.strip().lower() in _HEADER_WORDS:
            continue
        match = _NUMBERED.fullmatch(name.strip())
        records.append({"id": match[1] if match else name.strip(), "caption": _cell(caption.strip(), f"{place} line {number}")})
    return records


def _cell(text: str, place: str) -> Any:
    if not text.startswith("[{"):
        return text
    try:
        return [record["caption"] for record in json.loads(text)]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise MagicError(f"{place}: looks like a JSON list of captions but is none ({error}); mend the line") from error
