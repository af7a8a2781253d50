"""The run folders of a sweep as points: the settings that vary, the value of one measure at each, and the best point."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from magic_cli.data.paths import expanded, named_paths
from magic_cli.data.run_files import METRICS, is_run, read_manifest, read_scores
from magic_cli.errors import MagicError, SettingsError, nearest
from magic_cli.reports.paper_rows import flat
from magic_cli.reports.row_files import candidates

_SCORE_KEYS = ("value", "label", "scale", "digits", "higher_is_better")
REPEAT = "run.repeat"  # runs that differ in nothing else form one point and are averaged


@dataclass(frozen=True)
class Run:
    """One run folder."""

    folder: Path
    settings: Mapping[str, Any]
    """The settings that identify it, by full name, such as ``decoding.alpha``."""
    document: Mapping[str, Any] | None
    """Its metrics.json; None: not evaluated."""
    problem: str
    """Why it has no comparable value, as in "is not evaluated"; empty: it has one."""


@dataclass(frozen=True)
class Point:
    """Runs with the same settings: a single run, or repeats of a sampled method."""

    settings: Mapping[str, Any]
    """The settings that vary over the sweep."""
    runs: tuple[Run, ...]
    values: tuple[float, ...]
    """The value of each run that has a comparable one, in the measure's own range."""
    interval: tuple[float, float] | None
    """Bootstrap interval, if it is a single run evaluated with intervals."""

    @property
    def value(self) -> float | None:
        """Mean over the runs; None: a run is not finished, or not evaluated."""
        return statistics.mean(self.values) if len(self.values) == len(self.runs) else None

    @property
    def deviation(self) -> float | None:
        """Standard deviation over the runs; None: a single run."""
        return statistics.stdev(self.values) if self.value is not None and len(self.values) > 1 else None

    @property
    def counts(self) -> list[int]:
        """The numbers of captions scored, without repeats."""
        return list(dict.fromkeys(run.document["n"] for run in self.runs if run.document is not None and not run.problem))


@dataclass(frozen=True)
class Sweep:
    """All points, sorted by their settings."""

    metric: str
    facts: Mapping[str, Any]
    """Entries of metrics.json about the measure: ``label``, ``scale``, ``digits``, ``higher_is_better``."""
    names: tuple[str, ...]
    """Full names of the settings that vary."""
    points: tuple[Point, ...]
    confidence: float | None = field(default=None)

    @property
    def best(self) -> Point | None:
        """The first of the points with the best value; None: no point has a value, or none is better than another."""
        if self.facts["higher_is_better"] is None:
            return None
        known = [(point.value, point) for point in self.points if point.value is not None]
        choose = max if self.facts["higher_is_better"] else min
        return choose(known, key=lambda pair: pair[0])[1] if known else None

    def short(self, name: str) -> str:
        """A setting's name in tables and plots: without its group if that is unambiguous."""
        last = name.rpartition(".")[2]
        return last if [other.rpartition(".")[2] for other in self.names].count(last) == 1 else name

    def printed(self, value: float) -> str:
        """A value as tables print it."""
        return f"{value * self.facts['scale']:.{self.facts['digits']}f}"


def read_sweep(places: Sequence[str], metric: str, *, measures: Sequence[str] = ()) -> Sweep:
    """The points of all run folders at or below the given places.

    Args:
        places: Run folders, patterns, folders of them.
        metric: A measure, by its name in metrics.json.
        measures: All measures that ``magic evaluate`` knows, to tell a typo from one that was not measured.

    Raises:
        SettingsError: There is no run, no run was evaluated by this measure, or the measure is unknown.
        MagicError: A file of a run is damaged.
    """
    runs = [_read(folder, metric) for folder in _folders(places)]
    evaluated = [run.document for run in runs if run.document is not None and not run.problem]
    if not evaluated:
        known = dict.fromkeys(key for run in runs for key in (run.document or {}).get("metrics", {}))
        if measures and metric not in {*measures, *known}:
            raise SettingsError(f"metric={metric}: no such measure; {nearest(metric, list(dict.fromkeys([*known, *measures])))}")
        had = f"evaluated by {', '.join(known)}" if known else "none is evaluated"
        patterns = " ".join(place if is_run(expanded(place)) or "*" in place else f"'{place}/*'" for place in places)
        raise SettingsError(
            f"metric={metric}: {'the run is not' if len(runs) == 1 else f'none of {len(runs)} runs is'} finished and evaluated by it ({had}); first run `magic evaluate {patterns}`, or "
            f"name another with --metric ({runs[0].folder} {runs[0].problem})"
        )
    names = _varying(runs)
    points = [_point(names, group, metric) for group in _groups(runs)]
    order = {name: sorted({json.dumps(point.settings[name]) for point in points}, key=_sort_key) for name in names}
    points.sort(key=lambda point: [order[name].index(json.dumps(point.settings[name])) for name in names])
    confidence = evaluated[0].get("bootstrap", {}).get("confidence")
    return Sweep(metric, evaluated[0]["metrics"][metric], names, tuple(points), confidence)


def _folders(places: Sequence[str]) -> list[Path]:
    if not places:
        raise SettingsError("which runs? name run folders, or folders of them, as in `magic table sweep runs/caption`")
    folders: dict[Path, Path] = {}
    for place in places:
        found = named_paths(place)
        inside = [path for outer in found for path in candidates(outer) if is_run(path)]
        if not inside:
            what = "holds no run folder" if found else "no such file or folder"
            raise SettingsError(f"{place}: {what} (looked at {expanded(place).absolute()})")
        folders |= {path.resolve(): path for path in inside}
    return list(folders.values())


def _read(folder: Path, metric: str) -> Run:
    manifest = read_manifest(
        folder / "manifest.json", remedy="delete this folder, or name others", needs=["identity", "status", "counts"]
    )
    file, again = folder / METRICS, f"delete it, and run `magic evaluate {folder}` again"
    document = read_scores(file, remedy=again, needs=["metrics", "n"]) if file.is_file() else None
    if document is not None and metric in document["metrics"]:
        for key in _SCORE_KEYS:
            if key not in document["metrics"][metric]:
                raise MagicError(f"{file}: its {metric} has no {key}; {again}")
    return Run(folder, dict(flat(manifest["identity"])), document, _problem(manifest, document, metric))


def _problem(manifest: Mapping[str, Any], document: Mapping[str, Any] | None, metric: str) -> str:
    counts = manifest["counts"]
    if manifest["status"] != "complete":
        done = f", {counts['predictions']} of {counts['planned']}" if counts.keys() >= {"predictions", "planned"} else ""
        return f"is unfinished ({manifest['status']}{done}); start its command again"
    if document is None:
        return "is not evaluated; run `magic evaluate` on it"
    if metric not in document["metrics"]:
        why = document.get("not_run", {}).get(metric)
        return f"is evaluated without {metric}{f' ({why})' if why else ''}"
    if (document.get("run") or {}).get("counts") not in (None, counts):
        return "went on after it was evaluated; run `magic evaluate` on it again"
    return "" if document["metrics"][metric]["value"] is not None else f"has no {metric}"


def _groups(runs: Sequence[Run]) -> Iterator[list[Run]]:
    groups: dict[str, list[Run]] = {}
    for run in runs:
        same = {name: value for name, value in run.settings.items() if name != REPEAT}
        groups.setdefault(json.dumps(same, sort_keys=True), []).append(run)
    yield from groups.values()


def _varying(runs: Sequence[Run]) -> tuple[str, ...]:
    """Settings with more than one value, in the order of the runs' settings; a setting that a run lacks counts as null."""
    names = dict.fromkeys(name for run in runs for name in run.settings if name != REPEAT)
    return tuple(name for name in names if len({json.dumps(run.settings.get(name)) for run in runs}) > 1)


def _point(names: Sequence[str], runs: Sequence[Run], metric: str) -> Point:
    fit = [run.document["metrics"][metric] for run in runs if run.document is not None and not run.problem]
    interval = fit[0].get("interval") if len(runs) == len(fit) == 1 else None
    settings = {name: runs[0].settings.get(name) for name in names}
    return Point(settings, tuple(runs), tuple(one["value"] for one in fit), tuple(interval) if interval else None)


def _sort_key(text: str) -> tuple[int, float, str]:
    """Sorts numbers by size, then other values by their text."""
    value = json.loads(text)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return (0, value, "") if is_number else (1, 0.0, text)
