"""Captions in text tables: ``name<TAB>caption``, Flickr's ``name#0<TAB>caption``, and files with a header line."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from magic_cli.data.image_names import is_image_name
from magic_cli.data.listed_texts import texts_of
from magic_cli.data.paths import ending
from magic_cli.data.record_fields import CAPTION_KEYS, ID_KEYS, REFERENCE_KEYS, column_word
from magic_cli.data.text_files import text_lines
from magic_cli.errors import MagicError
from magic_cli.terminal.wording import counted

_COLUMNS = {*ID_KEYS, *CAPTION_KEYS, *REFERENCE_KEYS, "split", "title"}
_TEXTS = {*CAPTION_KEYS, *REFERENCE_KEYS}
_DELIMITERS = "\t|;,"
_QUOTING = ";,"
_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_NUMBERED = re.compile(r"(.+\.\w+)#\d+")


@dataclass(frozen=True)
class _Layout:
    delimiter: str
    spaced: bool
    """Whether a space follows each comma; a quote after the space still opens a cell."""
    told: frozenset[str] = frozenset()
    """Columns that the user has named, as ``column_word`` spells them."""

    @property
    def has_tabs(self) -> bool:
        return self.delimiter == "\t"

    def is_header(self, names: Sequence[str]) -> bool:
        words = set(names)
        if not self.told.isdisjoint(map(column_word, names)):
            return True
        if self.has_tabs:  # the first caption might be the one word "text"
            is_texts = names[-1] in _TEXTS and not (names[0].isdigit() or is_image_file(names[0]))
            return is_texts or names[0] in {*ID_KEYS, *CAPTION_KEYS} or self.names_both(names)
        return bool(words & _COLUMNS) if len(names) > 1 else names[0] in {*CAPTION_KEYS, *REFERENCE_KEYS, "title"}

    def names_both(self, names: Sequence[str]) -> bool:
        """Whether a line names a column of images and a column of texts, as no plain text does."""
        return not {*ID_KEYS}.isdisjoint(names) and not _TEXTS.isdisjoint(names)

    def rows(self, text: str, place: str, *, is_titled: bool) -> Iterator[tuple[int, list[str]]]:
        """The cells of each non-blank row, with the number of its first line.

        With tabs and bars, a cell may itself begin with a quote. A program that quotes a cell doubles the quotes inside. Without
        a header, a cell in quotes may be quoted speech; so it is unquoted only if it contains a doubled quote.
        """
        if self.delimiter not in _QUOTING:
            for number, line in text_lines(text):
                cells = line.split(self.delimiter)
                yield number, [unquoted(cell) if is_titled or '""' in cell.strip()[1:-1] else cell for cell in cells]
            return
        reader = csv.reader(io.StringIO(text), delimiter=self.delimiter, skipinitialspace=self.spaced, strict=True)
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
        """Exactly as many cells as names: an unquoted caption in the last column keeps its own commas or bars."""
        columns = f"the {counted(len(names), 'column')} {', '.join(names)}"
        if self.has_tabs and len(cells) == 1:
            raise MagicError(f"{place}: no tab between image and caption ({cells[0][:60]!r}); mend the line")
        if len(cells) < len(names):
            raise MagicError(f"{place}: has {len(cells)} of {columns}; mend the line")
        if len(cells) == len(names):
            return cells
        if self.has_tabs or not (names[-1] in CAPTION_KEYS or column_word(names[-1]) in self.told):
            in_header = "name every column in a header line, or mend the line"
            remedy = f"put captions with {self.delimiter} in quotes" if self.delimiter in _QUOTING else in_header
            raise MagicError(f"{place}: has {counted(len(cells), 'cell')} for {columns}; {remedy}")
        last = len(names) - 1
        return [*cells[:last], (self.delimiter + " " * self.spaced).join(cells[last:])]


def parse_table(text: str, place: str, hint: str, *, columns: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Records of a table: the columns named by its header, or ``{"id", "caption"}`` for two columns with a tab between.

    Columns are separated by tabs, ``|``, ``;`` or ``,``. Quoted cells may contain the last two. Known names of columns are
    brought into one spelling (``Image ID`` becomes ``image_id``). Captions and references may be lists, as JSON or as Python
    prints them, of texts or of ``{"caption"}``, as some captioners write them. ``#0`` after an image's name is cut off.

    Args:
        text: The content of the file.
        place: The file, for error messages.
        hint: The remedy if it is no such table.
        columns: Names of columns that the user has told: a first line with one of them is a header, too.

    Raises:
        MagicError: The text is not such a table; names the line.
    """
    layout, first = _layout(text, columns)
    is_titled = layout.has_tabs and layout.is_header([_column(unquoted(cell)) for cell in first.split(layout.delimiter)])
    rows = layout.rows(text, place, is_titled=is_titled)
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
    return _records(layout, names, rows, place)


def _records(layout: _Layout, names: Sequence[str], rows: Iterable[tuple[int, list[str]]], place: str) -> list[dict[str, Any]]:
    records = []
    for number, cells in rows:
        line = f"{place} line {number}"
        records.append(_record(names, layout.fitted(cells, names, line), line))
    return records


def columns_of_images(lines: Sequence[str]) -> str | None:
    """The sign between the columns of lines that all begin with an image file, perhaps below a header; None if they do not.

    >>> columns_of_images(["filename,description", "a.jpg,a dog"]), columns_of_images(["a.jpg is a file, I say"])
    (',', None)
    """
    below = lines[1:] or lines
    return next(
        (sign for sign in _DELIMITERS if all(sign in line and is_image_file(line.partition(sign)[0]) for line in below)), None
    )


def is_text_header(line: str) -> bool:
    """Whether a line consists of the name of a column of texts."""
    return column_word(unquoted(line)) in _TEXTS


def has_header(text: str, *, surely: bool) -> bool:
    """Whether the first line names columns.

    Args:
        text: The content of a file.
        surely: Accept only headers that no plain text begins with: a column of images and a column of texts.

    >>> [has_header(text, surely=True) for text in ("image,caption", "Image ID;Caption", "text,label", "A dog, a cat")]
    [True, True, False, False]
    """
    layout, first = _layout(text)
    names = [_column(cell.strip(' "')) for cell in first.split(layout.delimiter)]
    return layout.names_both(names) if surely else layout.is_header(names)


def is_image_file(cell: str) -> bool:
    """Whether a cell names an image file; the number of its caption may follow.

    >>> [is_image_file(cell) for cell in ("my dog.jpg#0", '"my dog.JPG"', "391895")]
    [True, True, False]
    """
    name = unquoted(cell).strip()
    return is_image_name(name.rpartition("#")[0] or name)


def may_be_id(cell: str) -> bool:
    """Whether a cell may be the id of an image: a file name, or a single word.

    >>> [may_be_id(cell) for cell in ("my dog.jpg#0", "391895", "The Cake")]
    [True, True, False]
    """
    return " " not in (cell.strip().rpartition("#")[0] or cell.strip()) or is_image_file(cell)


def unquoted(cell: str) -> str:
    """The content of a cell that a program has quoted; any other cell as it is.

    >>> unquoted('"a ""big"" dog"'), unquoted('"Stop" and "go"')
    ('a "big" dog', '"Stop" and "go"')
    """
    stripped = cell.strip()
    return stripped[1:-1].replace('""', '"') if _QUOTED.fullmatch(stripped) else cell


def is_named_csv(path: Path) -> bool:
    """Whether a file's name says that it is a table, so that its lines are not texts."""
    return ending(path) == ".csv"


def is_story_header(line: str) -> bool:
    """Whether a line names the columns of a table of stories.

    >>> is_story_header("Title\\tStory"), is_story_header("A Day\\tIt rained.")
    (True, False)
    """
    return [column_word(cell) for cell in line.split("\t")] == ["title", "story"]


def titled_rows(text: str, place: str, columns: Sequence[str]) -> list[dict[str, Any]] | None:
    """The records of a file, if its first line names columns; None if that line is a text like the others.

    Args:
        text: The content of the file.
        place: The file, for error messages.
        columns: A header has one of these names beside other known names; alone, it may only be the first or second of them.

    Raises:
        MagicError: A row has fewer or more cells than the header; names the line.
    """
    layout, first = _layout(text)
    names = [column_word(unquoted(cell)) for cell in first.split(layout.delimiter)]
    if set(columns).isdisjoint(names) or not set(names) <= {*_COLUMNS, *columns}:
        return None
    if len(names) > 1:
        rows = layout.rows(text, place, is_titled=True)
        return _records(layout, names, islice(rows, 1, None), place)
    return (
        [{names[0]: unquoted(line).strip()} for _, line in islice(text_lines(text), 1, None)] if names[0] in columns[:2] else None
    )


def _layout(text: str, told: Sequence[str] = ()) -> tuple[_Layout, str]:
    """How the columns are separated, judged by the first line, which is also returned."""
    first = next((line for _, line in text_lines(text)), "")
    delimiter = next((sign for sign in _DELIMITERS if sign in first), ",")
    spaced = delimiter in _QUOTING and f"{delimiter} " in first
    return _Layout(delimiter, spaced, frozenset(map(column_word, told))), first


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
        raise MagicError(f"{place}: looks like a printed list of captions but is not one ({error}); mend the line") from error
    if isinstance(found, list) and not all(isinstance(entry, str) for entry in found):
        raise MagicError(f"{place}: looks like a JSON list of captions but is not one ({text[:60]!r}); mend the line")
    return found
