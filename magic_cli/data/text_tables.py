"""Captions in text tables: ``name<TAB>caption``, Flickr's ``name#0<TAB>caption``, and files with a header line."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from magic_cli.data.listed_texts import texts_of
from magic_cli.errors import MagicError

# Of two ids in one record the earlier word's counts: beside an image's id, `id` is a running number of the caption.
ID_KEYS = (
    "image_id", "img_id", "cocoid", "id", "image_key", "image_name", "file_name", "filename", "image", "image_path",
)  # fmt: skip
CAPTION_KEYS = ("caption", "prediction", "pred", "generated_caption", "generated_text", "hypothesis", "text", "story")
REFERENCE_KEYS = ("references", "captions", "refs", "gts", "reference")

_COLUMNS = {*ID_KEYS, *CAPTION_KEYS, *REFERENCE_KEYS, "split"}
_NUMBERED = re.compile(r"(.+\.\w+)#\d+")


@dataclass(frozen=True)
class _Layout:
    delimiter: str
    spaced: bool
    """Whether a space stands behind each comma; a quote behind it still opens a cell."""

    @property
    def has_tabs(self) -> bool:
        return self.delimiter == "\t"

    def is_header(self, names: Sequence[str]) -> bool:
        words = set(names)
        if self.has_tabs:  # a first caption is not lost because it is the one word "text"
            return names[0] in ID_KEYS or bool(words & {*ID_KEYS} and words & {*CAPTION_KEYS, *REFERENCE_KEYS})
        return len(names) > 1 and bool(words & _COLUMNS)

    def rows(self, text: str, place: str) -> Iterator[tuple[int, list[str]]]:
        """Cells of each row that is not blank, with the number of its first line."""
        if self.delimiter != ",":
            for number, line in enumerate(text.split("\n"), start=1):  # splitlines() also cuts at U+2028 within a caption
                if line.strip():
                    yield number, line.split(self.delimiter)
            return
        reader = csv.reader(io.StringIO(text), skipinitialspace=self.spaced, strict=True)
        before = 0
        try:
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    yield before + 1, cells
                before = reader.line_num
        except csv.Error as error:
            remedy = 'a cell with commas or quotes is written "a ""big"" dog, red"'
            raise MagicError(f"{place} line {before + 1}: the quotes do not match ({error}); {remedy}") from error

    def fitted(self, cells: list[str], names: Sequence[str], place: str) -> list[str]:
        """As many cells as names: an unquoted caption that comes last keeps its own commas or bars."""
        columns = f"the {len(names)} columns {', '.join(names)}"
        if self.has_tabs and len(cells) == 1:
            raise MagicError(f"{place}: no tab between image and caption ({cells[0][:60]!r}); mend the line")
        if len(cells) < len(names):
            raise MagicError(f"{place}: has {len(cells)} of {columns}; mend the line")
        if len(cells) == len(names):
            return cells
        if self.has_tabs or names[-1] not in CAPTION_KEYS:
            in_header = "name every column in a header line, or mend the line"
            remedy = "put captions with commas in quotes" if self.delimiter == "," else in_header
            raise MagicError(f"{place}: has {len(cells)} cells for {columns}; {remedy}")
        last = len(names) - 1
        return [*cells[:last], (self.delimiter + " " * self.spaced).join(cells[last:])]


def parse_table(text: str, place: str, hint: str) -> list[dict[str, Any]]:
    """Records of a table: the columns that its header line names, or ``{"id", "caption"}`` of two columns with a tab between.

    Columns are parted by tabs, ``|`` or ``,``; only with commas can cells be quoted. Names of columns that the readers know
    come back in the readers' spelling (``Image ID`` as ``image_id``). Captions and references may be lists as JSON or Python
    prints them, of texts or of ``{"caption"}``; ``#0`` behind an image's name is cut off.

    Raises:
        MagicError: The text is no such table; names the line.
    """
    first = next(line for line in text.split("\n") if line.strip())
    delimiter = next((sign for sign in "\t|" if sign in first), ",")
    layout = _Layout(delimiter, spaced=delimiter == "," and ", " in first)
    rows = layout.rows(text, place)
    top = next(rows)
    names = [_column(cell) for cell in top[1]]
    if layout.is_header(names):
        repeated = [name for name in names if names.count(name) > 1]
        if repeated:
            raise MagicError(f"{place} line {top[0]}: two columns are called {repeated[0]!r}; rename one")
    elif layout.has_tabs:
        names, rows = ["id", "caption"], chain([top], rows)
    else:
        raise MagicError(f"{place}: neither JSON nor a table of captions (first line {first[:60]!r}); {hint}")
    records = []
    for number, cells in rows:
        line = f"{place} line {number}"
        records.append(_record(names, layout.fitted(cells, names, line), line))
    return records


def column_word(name: str) -> str:
    """A column's name as the key that it means.

    >>> column_word("Image ID")
    'image_id'
    """
    return name.strip().lower().replace(" ", "_")


def _column(name: str) -> str:
    word = column_word(name)
    if word == "comment":  # Flickr30k's results.csv
        return "caption"
    return word if word in _COLUMNS else name.strip()


def _record(names: Sequence[str], cells: Sequence[str], place: str) -> dict[str, Any]:
    return {name: _cell(name, cell.strip(), place) for name, cell in zip(names, cells, strict=True)}


def _cell(name: str, text: str, place: str) -> Any:
    if name in ID_KEYS and (match := _NUMBERED.fullmatch(text)):
        return match[1]
    if name not in (*CAPTION_KEYS, *REFERENCE_KEYS):
        return text
    try:
        found = texts_of(text)
    except ValueError as error:
        raise MagicError(f"{place}: looks like a printed list of captions but is none ({error}); mend the line") from error
    if isinstance(found, list) and not all(isinstance(entry, str) for entry in found):
        raise MagicError(f"{place}: looks like a JSON list of captions but is none ({text[:60]!r}); mend the line")
    return found
