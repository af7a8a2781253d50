"""The messages of a sweep while it runs, and the measure that a search optimises."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any

from magic_cli.data.run_files import has_predictions
from magic_cli.errors import MagicError, SettingsError
from magic_cli.runs.naming import run_folder


class SweepTalk:
    """Prints on stderr which point of a sweep runs, and each error once. For a single run it prints errors only.

    It can be sent to another process, which then knows only its own errors.

    Args:
        names: Settings and groups that vary.
        total: The number of points; None: a search chooses them as it goes.
    """

    def __init__(self, names: Sequence[str] = (), total: int | None = 1) -> None:
        self._names, self._total = set(names), total
        self._number = 0
        self._first_with: dict[str, int] = {}

    def begin(self, number: int, overrides: Sequence[str]) -> None:
        """Announce a point.

        Args:
            number: The number of the point, from 1.
            overrides: Its settings, as ``name=value``.
        """
        self._number = number
        if self._total == 1:
            return
        varying = [override for override in overrides if override.lstrip("+").partition("=")[0] in self._names]
        total = "" if self._total is None else f" of {self._total}"
        _tell(f"point {number}{total}: {' '.join(varying or overrides)}")

    def fail(self, error: MagicError) -> None:
        """Print the error that ended a point, or say that it is the error of an earlier point."""
        first = self._first_with.setdefault(str(error), self._number)
        _tell(str(error) if first == self._number else f"the same error as at point {first}")


def tell_repeat(settings: Any, number: int, count: int) -> None:
    """Say which of several sampled runs begins."""
    if count > 1:
        _tell(f"run {number} of {count}: run.repeat={settings.run.repeat}")


def check_objective(settings: Any, sweeper: Any) -> None:
    """Refuse an unknown measure, and a search without a measure or in the wrong direction.

    Args:
        settings: Settings of the command.
        sweeper: Hydra's settings of a sweeper that searches; None: no search.

    Raises:
        SettingsError: One line with the remedy.
    """
    key = _key(settings)
    if key is None and sweeper is None:
        return
    if key is None:
        raise SettingsError("a sweeper that searches needs a measure to optimise; set run.objective=cider, or another one")
    _, measure = _objectives().find_measure(key)
    if measure.higher_is_better is None:
        return  # whoever searches by it says what is wanted
    right = "maximize" if measure.higher_is_better else "minimize"
    direction = sweeper.get("direction") if sweeper is not None else None
    if direction is not None and str(getattr(direction, "name", direction)) != right:
        which = "higher" if measure.higher_is_better else "lower"
        raise SettingsError(
            f"hydra.sweeper.direction={getattr(direction, 'name', direction)}: a {which} {key} is better; set hydra.sweeper.direction={right}"
        )


def require_objectives(points: Sequence[Any]) -> None:
    """Before anything loads, check that the measure can be taken after each run.

    Args:
        points: Settings of every point. Points that do not differ in anything relevant are checked once.

    Raises:
        MagicError: The data set has no references, the metric cannot run here, or its model is missing.
    """
    seen: set[str] = set()
    for settings in points:
        if _key(settings) is None:
            continue
        what = repr((settings.run.objective, settings.dataset, settings.image_text_model, settings.decoding.needs_image))
        if what not in seen:
            seen.add(what)
            _objectives().require_measurable(settings)


def measure_objective(settings: Any, runs: Sequence[Any]) -> float | None:
    """The value of ``run.objective`` over the runs of a point; None if the settings name no measure."""
    key = _key(settings)
    if key is None:
        return None
    value = _objectives().objective([run_folder(one) for one in runs], settings)
    _tell(f"{key} {value:.4f}")
    return value


def report_runs(settings: Any, runs: Sequence[Any]) -> None:
    """Write the page of a point's runs if ``run.report`` asks for it."""
    if not getattr(getattr(settings, "run", None), "report", False):
        return
    folders = [folder for one in runs if has_predictions(folder := run_folder(one))]
    if not folders:
        return _tell("run.report=true: nothing was written, so there is nothing to show")
    pages = importlib.import_module("magic_cli.report_page.writing")  # imports all metrics, too
    report = pages.report_of_runs(folders)
    for note in report.notes:
        _tell(note)
    _tell(f"page: {report.file}")


def _key(settings: Any) -> str | None:
    return getattr(getattr(settings, "run", None), "objective", None)


def _objectives() -> Any:
    return importlib.import_module("magic_cli.evaluation.objective")  # imports all metrics, so only when needed


def _tell(text: str) -> None:
    print(f"magic: {text}", file=sys.stderr)
