"""Tables of text cells, for the terminal and as Markdown, LaTeX, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import re
import textwrap
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from magic_cli.errors import SettingsError, nearest
from magic_cli.terminal.streams import one_line

Scalar = str | int | float | Decimal | None

TERMINAL_WIDTH = 100


@dataclass(frozen=True)
class Cell:
    """The content of one cell."""

    text: str = ""
    """Empty: unknown."""
    mark: str = ""
    """A short sign after the text that a note explains; it does not disturb the alignment of numbers."""


@dataclass(frozen=True)
class Column:
    """One column."""

    title: str
    is_label: bool = False
    """Labels are left-aligned and repeated when a terminal table is cut into blocks; numbers are right-aligned."""


@dataclass(frozen=True)
class Row:
    """One line with as many cells as the table has columns."""

    cells: tuple[Cell, ...]
    section: str = ""
    """Rows of the same section follow each other below its heading; empty: no heading."""
    opens_group: bool = False
    """Printed with some space above it."""


@dataclass(frozen=True)
class Table:
    """A table and what is printed with it."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    records: tuple[Mapping[str, Scalar], ...] = field(default=())
    """The data for CSV and JSON: one record per number or row, all with the same keys. Empty: the cells are used."""
    number: str = ""
    """Number of the table; LaTeX numbers tables itself."""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row.cells) != len(self.columns):
                raise ValueError(f"{self.title}: a row has {len(row.cells)} cells, the table {len(self.columns)} columns")

    @property
    def heading(self) -> str:
        return f"Table {self.number}: {self.title}" if self.number else self.title


def render(tables: Sequence[Table], table_format: str) -> str:
    """The tables as text; it ends in a line break.

    Args:
        tables: What to print, in this order.
        table_format: One of ``FORMATS``.

    Raises:
        SettingsError: The format is unknown.
    """
    check_format(table_format)
    return FORMATS[table_format](tables)


def check_format(table_format: str) -> None:
    """Refuse an unknown format.

    Raises:
        SettingsError: Names what is allowed.
    """
    if table_format not in FORMATS:
        raise SettingsError(f"unknown format={table_format!r}; {nearest(table_format, list(FORMATS))}")


def _each(render_one: Callable[[Table], str]) -> Callable[[Sequence[Table]], str]:
    return lambda tables: "\n".join(render_one(table) for table in tables)


def _one_line(text: str) -> str:
    """Remove what would break a line or control a terminal: names of systems are file names and may contain anything."""
    return one_line(" ".join(text.split()))


# --- terminal ---


def _terminal(table: Table) -> str:
    lines = textwrap.wrap(_one_line(table.heading), TERMINAL_WIDTH)
    for block in _blocks(table):
        lines += [""] if lines else []
        lines += _terminal_block(table, block)
    lines += [""] if table.notes else []
    for note in table.notes:
        lines += textwrap.wrap(_one_line(note), TERMINAL_WIDTH, subsequent_indent="  ")
    return "\n".join(lines) + "\n"


def _terminal_block(table: Table, block: list[int]) -> list[str]:
    widths = {i: _widths(table, i) for i in block}
    titles = [Cell(table.columns[i].title) for i in block]
    lines = [_terminal_line(table, block, titles, widths), "-" * (sum(sum(widths[i]) for i in block) - widths[block[-1]][2])]
    section = ""
    for number, row in enumerate(table.rows):
        if number and (row.opens_group or row.section != section):
            lines.append("")
        if row.section != section:
            lines.append(_one_line(row.section))
            section = row.section
        lines.append(_terminal_line(table, block, [row.cells[i] for i in block], widths))
    return lines


def _terminal_line(table: Table, block: list[int], cells: Sequence[Cell], widths: Mapping[int, tuple[int, int, int]]) -> str:
    line = ""
    for i, cell in zip(block, cells, strict=True):
        text_width, mark_width, gap = widths[i]
        text = _one_line(cell.text)
        space = " " * (text_width - _display_width(text))
        line += (text + space if table.columns[i].is_label else space + text) + cell.mark
        line += " " * (mark_width - _display_width(cell.mark) + gap)
    return line.rstrip()


def _blocks(table: Table) -> list[list[int]]:
    """Groups of columns that fit the terminal side by side; each begins with the labels."""
    labels = [i for i, column in enumerate(table.columns) if column.is_label]
    widths = [sum(_widths(table, i)) for i in range(len(table.columns))]
    room = TERMINAL_WIDTH + 1 - sum(widths[i] for i in labels)  # the gap after the last column is not printed
    blocks: list[list[int]] = [[]]
    used = 0
    for i in (i for i in range(len(table.columns)) if i not in labels):
        if blocks[-1] and used + widths[i] > room:
            blocks.append([])
            used = 0
        blocks[-1].append(i)
        used += widths[i]
    return [labels + block for block in blocks]


def _widths(table: Table, column: int) -> tuple[int, int, int]:
    """The widest text, the widest mark, and the gap to the next column."""
    cells = [row.cells[column] for row in table.rows]
    texts = [table.columns[column].title, *(cell.text for cell in cells)]
    mark = max((_display_width(cell.mark) for cell in cells), default=0)
    return max(_display_width(_one_line(text)) for text in texts), mark, 1 if mark else 2


def _display_width(text: str) -> int:
    """How many columns of a terminal a text takes: East Asian letters take two, combining letters none."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


# --- Markdown ---


def _markdown(table: Table) -> str:
    lines = [f"**{_markdown_text(table.heading)}**", ""] if table.heading else []
    lines.append(_markdown_line(_markdown_text(column.title) for column in table.columns))
    lines.append(_markdown_line("---" if column.is_label else "---:" for column in table.columns))
    section = ""
    for row in table.rows:
        if row.section != section:
            lines.append(_markdown_line([f"**{_markdown_text(row.section)}**", *[""] * (len(table.columns) - 1)]))
            section = row.section
        lines.append(_markdown_line(_markdown_text(cell.text + cell.mark) for cell in row.cells))
    lines += [line for note in table.notes for line in ("", _markdown_text(note))]
    return "\n".join(lines) + "\n"


def _markdown_line(cells: Any) -> str:
    return "| " + " | ".join(cells) + " |"


def _markdown_text(text: str) -> str:
    return "".join(f"\\{c}" if c in "\\`*_[]<>|~$" else c for c in _one_line(text))


# --- LaTeX ---

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    '"': r"\textquotedbl{}", "†": r"\textdagger{}", "±": r"$\pm$",
}  # fmt: skip


def _latex(table: Table) -> str:
    alignment = "".join("l" if column.is_label else "r" for column in table.columns)
    lines = [
        "% needs \\usepackage[T1]{fontenc} and \\usepackage{booktabs}",
        "\\begin{table}",
        "\\centering",
        *([f"\\caption{{{_latex_text(table.title)}}}"] if table.title else []),
        f"\\begin{{tabular}}{{{alignment}}}",
        "\\toprule",
        _latex_line(_latex_text(column.title) for column in table.columns),
        "\\midrule",
    ]
    section = ""
    for number, row in enumerate(table.rows):
        if row.section != section:
            lines += ["\\midrule"] if number else []
            lines.append(f"\\multicolumn{{{len(table.columns)}}}{{l}}{{\\emph{{{_latex_text(row.section)}}}}} \\\\")
            section = row.section
        elif row.opens_group:
            lines.append("\\addlinespace")
        lines.append(_latex_line(_latex_cell(cell) for cell in row.cells))
    lines += ["\\bottomrule", "\\end{tabular}"]
    lines += [f"\\par\\footnotesize {_latex_text(note)}" for note in table.notes]
    return "\n".join([*lines, "\\end{table}"]) + "\n"


def _latex_line(cells: Any) -> str:
    return " & ".join(cells) + r" \\"


def _latex_cell(cell: Cell) -> str:
    text = _latex_text(cell.text)
    text = f"{{{text}}}" if text.startswith(("[", "*")) else text  # else the \\ of the line above would take it as an argument
    return text + (rf"\rlap{{\textsuperscript{{{_latex_text(cell.mark)}}}}}" if cell.mark else "")


def _latex_text(text: str) -> str:
    return "".join(_LATEX.get(c, c) for c in _one_line(text))


# --- CSV and JSON ---

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
_NUMBERS = re.compile(r"[-+][\d.,\s%±()\[\]eE+-]*")  # with intervals


def _records(table: Table) -> list[Mapping[str, Scalar]]:
    if table.records:
        return list(table.records)
    titles = [column.title for column in table.columns]
    return [dict(zip(titles, (cell.text for cell in row.cells), strict=True)) for row in table.rows]


def _csv(tables: Sequence[Table]) -> str:
    """All records below one header; tables that are printed together have the same keys."""
    records = [record for table in tables for record in _records(table)]
    stream = io.StringIO()
    keys = dict.fromkeys(key for record in records for key in record)
    writer = csv.DictWriter(stream, fieldnames=list(keys), lineterminator="\n")
    writer.writerow({key: _inert(key) for key in keys})
    writer.writerows({key: _inert(value) for key, value in record.items()} for record in records)  # None is an empty field
    return stream.getvalue()


def _inert(value: Scalar) -> Scalar:
    """A cell that no spreadsheet executes: text that would be a formula gets an apostrophe, which marks text. Numbers stay.

    >>> [_inert(value) for value in ("=SUM(A1)", "-1.5 (0.2)", "- a dog", "@home", -2)]
    ["'=SUM(A1)", '-1.5 (0.2)', "'- a dog", "'@home", -2]
    """
    is_formula = isinstance(value, str) and value.lstrip(" ")[:1] in _FORMULA_STARTS and not _NUMBERS.fullmatch(value)
    return f"'{value}" if is_formula else value


def _json(tables: Sequence[Table]) -> str:
    document = [{"title": table.heading, "records": _records(table), "notes": list(table.notes)} for table in tables]
    return json.dumps(document, ensure_ascii=False, indent=1, default=float) + "\n"  # Decimal is the only type that JSON lacks


FORMATS: dict[str, Callable[[Sequence[Table]], str]] = {
    "terminal": _each(_terminal),
    "markdown": _each(_markdown),
    "latex": _each(_latex),
    "csv": _csv,
    "json": _json,
}
