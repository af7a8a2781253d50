"""Compares measured numbers with the paper's: which with which, and at which precision."""

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
"""The metrics.json documents of one row, one for each run of a sampled method."""
Measured = Mapping[str, Runs]
"""Runs by row id."""

_RELEASED_RUN = re.compile(r"(?:nucleus|top_k)_result_run_(\d)\.json(?:\.gz)?")

_BY_PEOPLE = "human_"
"""Prefix of measures from a study of people, which judges a method as a whole and not each run."""


class Check(NamedTuple):
    """One measured number and the expected one."""

    row: str
    measure: str
    measured: Decimal
    """The measured number, rounded to ``digits``."""
    expected: Decimal
    digits: int
    agrees: bool


@dataclass(frozen=True)
class Comparison:
    """The two numbers of a cell, as printed; None: not measured, or not known."""

    measure: PaperMeasure
    measured: Decimal | None
    expected: Expected | None
    deviation: Decimal | None = None
    """Sample standard deviation over the runs of a sampled method; None: fewer than two runs."""

    @property
    def difference(self) -> Decimal | None:
        """Difference of the printed numbers, so that equal numbers have no difference. None if one is missing, and for speeds."""
        if self.measured is None or self.expected is None or self.expected.number is None or self.measure.key == SPEED:
            return None
        return self.measured - self.expected.number


def check_against_paper(measured: Measured) -> list[Check]:
    """Every measured number with a known expected one, including the number of items (``n``). Speeds are left out.

    Numbers of sampled methods are checked only against a mean of as many runs, or against the same run of the authors.

    Raises:
        SettingsError: A row is unknown.
        MagicError: As in ``check_rows``.
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
            number, expected = cell.measured, cell.expected
            if cell.difference is not None and number is not None and expected is not None and expected.number is not None:
                checks.append(Check(row_id, key, number, expected.number, expected.digits, cell.difference == 0))
    return checks


def check_rows(paper: Paper, measured: Measured) -> None:
    """Refuse runs that cannot be averaged.

    Raises:
        SettingsError: A row is unknown.
        MagicError: A run appears twice, or a method without sampling has several systems.
    """
    for row_id, runs in measured.items():
        row = paper.row(row_id)
        sources = [str(run["source"]) for run in runs]
        if len(runs) > 1 and row.runs == 1:
            raise MagicError(
                f"{row_id}: is not a sampled method, but has {len(runs)} systems ({', '.join(sources)}); name one of them"
            )
        seen: list[Any] = []
        ranks = [run.get("image_rank") for run in runs]  # stories of one run are split by the rank of their image
        for run, source, rank in zip(runs, sources, ranks, strict=True):
            identity = (run.get("run") or {}).get("identity")  # the same seed and repeat give the same captions
            if (source, rank) in seen or (identity is not None and (identity, rank) in seen):
                raise MagicError(f"{source}: is the same run of {row_id} as another one; name it once")
            seen += [(source, rank), (identity, rank)]


def compare(paper: Paper, row: PaperRow, measured: Measured, key: str) -> Comparison:
    """One cell: the mean over the row's runs, and the expected number.

    The mean is taken over rounded numbers, because the paper's means were made so. With the authors' files of all three runs,
    five means of unrounded numbers would differ by 0.01.
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
    """Deviation of the unrounded numbers; one more digit for measures printed with a single digit."""
    if measure.key.startswith(_BY_PEOPLE):
        return None
    found = values(runs, measure.key)
    if len(found) < max(2, len(runs)):
        return None
    return _rounded(statistics.stdev(found) * measure.scale, max(2, digits))


def _rounded(value: float | Decimal, digits: int) -> Decimal:
    return Decimal(f"{value:.{digits}f}")


def values(runs: Runs, key: str) -> list[float]:
    """A measure from those runs that have it, in its own range."""
    found = (run["metrics"].get(key, {}).get("value") for run in runs)
    return [value for value in found if value is not None]


def counts(runs: Runs) -> str:
    """The number of scored items; several numbers if the runs differ."""
    return "/".join(dict.fromkeys(str(run["n"]) for run in runs))


def expected_cells(row: PaperRow, runs: Runs) -> Mapping[str, Expected]:
    """The expected numbers of a row. If a single run of the authors was measured, those of that run."""
    number = released_run(row, runs)
    return row.cells if number is None else row.released_runs[number - 1]


def released_run(row: PaperRow, runs: Runs) -> int | None:
    """Which of the authors' runs was measured alone, by the file's name. None: several, another run, or no numbers for it."""
    found = _RELEASED_RUN.fullmatch(PurePath(str(runs[0]["source"])).name) if len(runs) == 1 else None
    return int(found[1]) if found and 0 < int(found[1]) <= len(row.released_runs) else None
