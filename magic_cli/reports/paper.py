"""The expected numbers, from paper.yaml (MAGIC) and minigpt5.yaml. They stay text, because their digits are their precision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cache
from importlib.resources import files
from typing import Any

from magic_cli.errors import SettingsError, nearest

ALL_TABLES = "all"
MAGIC, MINIGPT5 = "paper", "minigpt5"


@dataclass(frozen=True)
class Source:
    """The source of an expected number."""

    name: str
    """The name in paper.yaml, such as ``rescored``."""
    mark: str
    """The sign after the number; empty for numbers of the paper itself."""
    meaning: str


@dataclass(frozen=True)
class Expected:
    """One expected number."""

    text: str
    """As printed, such as ``12.90``; or words, if only words are known (``nearly 27``)."""
    source: Source

    @property
    def number(self) -> Decimal | None:
        """The value with its digits; None if only words are known."""
        try:
            return Decimal(self.text)
        except InvalidOperation:
            return None

    @property
    def digits(self) -> int:
        """Digits after the point; 0 if only words are known."""
        return -int(self.number.as_tuple().exponent) if self.number is not None else 0


@dataclass(frozen=True)
class PaperMeasure:
    """How the tables print a measure."""

    key: str
    label: str
    metric: str
    """The metric that measures it."""
    scale: float
    """Printed value divided by the value in metrics.json."""
    digits: int
    """Digits after the point if no expected number says how many."""
    suffix: str = ""


@dataclass(frozen=True)
class PaperRow:
    """One row: a method on a data set."""

    id: str
    """``section/method``, such as ``coco/magic``."""
    title: str
    n: int | None
    """Number of items behind the expected numbers; None: unknown."""
    runs: int
    """Number of runs behind the expected means of a sampled method; 1: not sampled."""
    cells: Mapping[str, Expected]
    """Expected numbers by measure; missing measures are unknown."""
    released_runs: tuple[Mapping[str, Expected], ...]
    """For a sampled method, the known numbers of each of the authors' runs."""
    tokens: Mapping[str, int]
    """The words that BLEU counts, if known: ``captions`` and ``references`` (nearest in length)."""
    is_listed: bool = False
    """Whether the row is shown even if nothing is known or measured."""

    @property
    def section(self) -> str:
        return self.id.partition("/")[0]

    @property
    def method(self) -> str:
        return self.id.partition("/")[2]


@dataclass(frozen=True)
class Note:
    """What readers must know about the expected numbers of some rows."""

    rows: tuple[str, ...]
    text: str


@dataclass(frozen=True)
class PaperTable:
    """One table: which measures of which sections."""

    number: str
    title: str
    measures: tuple[str, ...]
    sections: tuple[str, ...]


@dataclass(frozen=True)
class Paper:
    """The content of paper.yaml."""

    sources: Mapping[str, Source]
    measures: Mapping[str, PaperMeasure]
    tables: Mapping[str, PaperTable]
    sections: Mapping[str, str]
    """Titles of the sections."""
    rows: Mapping[str, PaperRow]
    notes: tuple[Note, ...]

    def row(self, row_id: str) -> PaperRow:
        """The row with this id.

        Raises:
            SettingsError: There is none.
        """
        if row_id not in self.rows:
            raise SettingsError(f"unknown row {row_id!r}; {nearest(row_id, list(self.rows))}")
        return self.rows[row_id]

    def chosen(self, numbers: Sequence[str]) -> list[PaperTable]:
        """The tables of ``1``, ``2``, ``3`` or ``all``, each once, in the paper's order.

        Raises:
            SettingsError: No table was named, or an unknown one.
        """
        allowed, more = [*self.tables, ALL_TABLES], [*load_paper(MINIGPT5).tables, "sweep"]
        if not numbers:
            others = ", ".join(more)
            raise SettingsError(
                f"which table? name {', '.join(allowed[:-1])} or {ALL_TABLES}, as in `magic table 1`; or one of {others}"
            )
        for number in numbers:
            if number not in allowed:
                raise SettingsError(f"unknown table {number!r}; {nearest(number, [*allowed, *more])}")
        return [table for table in self.tables.values() if ALL_TABLES in numbers or table.number in numbers]


@cache
def load_paper(name: str = MAGIC) -> Paper:
    """The known numbers of a paper's tables.

    Args:
        name: ``paper`` (MAGIC's) or ``minigpt5``.
    """
    import yaml

    text = files("magic_cli.reports").joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    document = yaml.load(text, Loader=yaml.BaseLoader)  # keeps 11.90 as text, and makes nothing but text, lists and dicts
    sources = {name: Source(name, **facts) for name, facts in document["sources"].items()}
    return Paper(
        sources=sources,
        measures={key: _measure(key, facts) for key, facts in document["measures"].items()},
        tables={
            number: PaperTable(number, facts["title"], tuple(facts["measures"]), tuple(facts["sections"]))
            for number, facts in document["tables"].items()
        },
        sections=document["sections"],
        rows={row_id: _row(row_id, facts, sources) for row_id, facts in document["rows"].items()},
        notes=tuple(Note(tuple(note["rows"]), note["text"]) for note in document["notes"]),
    )


def _measure(key: str, facts: dict[str, str]) -> PaperMeasure:
    return PaperMeasure(
        key, facts["label"], facts.get("metric", key), float(facts["scale"]), int(facts["digits"]), facts.get("suffix", "")
    )


def _row(row_id: str, facts: dict[str, Any], sources: Mapping[str, Source]) -> PaperRow:
    cells = {measure: Expected(text, source) for name, source in sources.items() for measure, text in facts.get(name, {}).items()}
    runs = [{m: Expected(text, sources["rescored"]) for m, text in run.items()} for run in facts.get("released_runs", [])]
    n = int(facts["n"]) if "n" in facts else None
    tokens = {name: int(text) for name, text in facts.get("tokens", {}).items()}
    return PaperRow(row_id, facts["title"], n, int(facts.get("runs", 1)), cells, tuple(runs), tokens, is_listed="listed" in facts)
