"""Measured numbers against the paper's: which number is compared with which, at which precision."""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import PurePath
from typing import Any, NamedTuple

from magic_cli.errors import MagicError
from magic_cli.reports.paper import Expected, Paper, PaperMeasure, PaperRow, load_paper
from magic_cli.reports.speed import SPEED, relative_speed

Runs = Sequence[Mapping[str, Any]]
"""Documents of metrics.json of one row, one for each run of a sampled method."""
Measured = Mapping[str, Runs]
"""By row id."""

_RELEASED_RUN = re.compile(r"(?:nucleus|top_k)_result_run_(\d)\.json(?:\.gz)?")

_BY_PEOPLE = "human_"
"""Opens the measures of one study, which judges a method, not each of its runs."""


class Check(NamedTuple):
    """One measured number against the expected one."""

    row: str
    measure: str
    measured: Decimal
    """Rounded to ``digits``."""
    expected: Decimal
    digits: int
    agrees: bool


@dataclass(frozen=True)
class Comparison:
    """The two numbers of a cell, as printed. None: not measured; not known."""

    measure: PaperMeasure
    measured: Decimal | None
    expected: Expected | None
    deviation: Decimal | None = None
    """Standard deviation over the runs of a sampled method (divided by their number less one); None: fewer than two runs."""

    @property
    def difference(self) -> Decimal | None:
        """Of the printed numbers, so that equal print means no difference; None where one is not there, and for speeds."""
        if self.measured is None or self.expected is None or self.expected.number is None or self.measure.key == SPEED:
            return None
        return self.measured - self.expected.number


def check_against_paper(measured: Measured) -> list[Check]:
    """Every measured number whose expected one is known, the number of items (``n``) included; speeds depend on the machine.

    Sampled methods only where like is compared with like: the mean of as many runs, or one of the authors' runs.

    Raises:
        SettingsError: An unknown row.
        MagicError: As ``check_rows``.
    """
    paper = load_paper()
    check_rows(paper, measured)
    checks = []
    for row_id, runs in measured.items():
        row = paper.row(row_id)
        if not runs or (len(runs) != row.runs and released_run(row, runs) is None):
            continue
        if row.n is not None:
            checks += [Check(row_id, "n", Decimal(run["n"]), Decimal(row.n), 0, run["n"] == row.n) for run in runs]
        for key in paper.measures:
            cell = compare(paper, row, measured, key)
            if cell.difference is not None:
                checks.append(Check(row_id, key, cell.measured, cell.expected.number, cell.expected.digits, cell.difference == 0))
    return checks


def check_rows(paper: Paper, measured: Measured) -> None:
    """Refuse what cannot be averaged.

    Raises:
        SettingsError: An unknown row.
        MagicError: One run twice, or several systems for the row of a method that is not sampled.
    """
    for row_id, runs in measured.items():
        row = paper.row(row_id)
        sources = [str(run["source"]) for run in runs]
        if len(runs) > 1 and row.runs == 1:
            raise MagicError(
                f"{row_id}: is no sampled method, but has {len(runs)} systems ({', '.join(sources)}); name one of them"
            )
        seen: list[Any] = []
        ranks = [run.get("image_rank") for run in runs]  # of one run's stories, parted by image
        for run, source, rank in zip(runs, sources, ranks, strict=True):
            identity = (run.get("run") or {}).get("identity")  # the same seed and repeat: the same captions
            if (source, rank) in seen or (identity is not None and (identity, rank) in seen):
                raise MagicError(f"{source}: is the same run of {row_id} as another one; name it once")
            seen += [(source, rank), (identity, rank)]


def compare(paper: Paper, row: PaperRow, measured: Measured, key: str) -> Comparison:
    """One cell: the mean of the row's runs, and the expected number.

    The mean is taken of the runs' numbers as printed, because the expected means were made so: with the authors' files of
    all three runs, five of the means of unrounded numbers differ by 0.01.
    """
    measure, runs = paper.measures[key], measured.get(row.id, ())
    expected = row.cells.get(key) if key == SPEED else expected_cells(row, runs).get(key)
    digits = measure.digits if expected is None or expected.number is None else expected.digits
    if key == SPEED:
        speed = relative_speed(runs, measured.get(f"{row.section}/zerocap", ()))
        printed = [] if speed is None else [_rounded(speed, digits)]
    else:
        found = values(runs, key)
        printed = [_rounded(value * measure.scale, digits) for value in found] if len(found) == len(runs) else []
    return Comparison(
        measure, _rounded(statistics.mean(printed), digits) if printed else None, expected, _deviation(measure, runs, digits)
    )


def _deviation(measure: PaperMeasure, runs: Runs, digits: int) -> Decimal | None:
    """Of the runs' own numbers, not of the printed ones; with a digit more than a number printed with one digit has."""
    if measure.key.startswith(_BY_PEOPLE):
        return None
    found = values(runs, measure.key)
    if len(found) < max(2, len(runs)):
        return None
    return _rounded(statistics.stdev(found) * measure.scale, max(2, digits))


def _rounded(value: float | Decimal, digits: int) -> Decimal:
    return Decimal(f"{value:.{digits}f}")


def values(runs: Runs, key: str) -> list[float]:
    """A measure of those runs that have it, in its own range."""
    found = (run["metrics"].get(key, {}).get("value") for run in runs)
    return [value for value in found if value is not None]


def counts(runs: Runs) -> str:
    """Items scored; several numbers if the runs differ."""
    return "/".join(dict.fromkeys(str(run["n"]) for run in runs))


def expected_cells(row: PaperRow, runs: Runs) -> Mapping[str, Expected]:
    """The row's numbers; if one run of the authors alone was measured, what is known of that run."""
    number = released_run(row, runs)
    return row.cells if number is None else row.released_runs[number - 1]


def released_run(row: PaperRow, runs: Runs) -> int | None:
    """Which of the authors' runs was measured alone, by the file's name; None: several, another, or one of which nothing is known."""
    found = _RELEASED_RUN.fullmatch(PurePath(str(runs[0]["source"])).name) if len(runs) == 1 else None
    return int(found[1]) if found and 0 < int(found[1]) <= len(row.released_runs) else None
