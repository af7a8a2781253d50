"""Adds people's judgement (``magic human-eval score``): scores of stories to table 3, wins of pairs to table vist."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from magic_cli.data.json_files import read_json
from magic_cli.errors import MagicError, SettingsError, nearest
from magic_cli.reports.paper import load_paper

ASPECTS = {
    "relevance": "human_relevance",
    "fluency": "human_fluency",
    "informativeness": "human_informativeness",
    "story_image_relevance": "human_image_relevance",
}
"""The aspect in the file, and the key of the measure."""
_SECTION = "story"
_HINT = 'give a file of `magic human-eval score`: {"systems": {name: {"relevance": {"mean": 4.1}, ...}}}'


def add_human_scores(measured: Mapping[str, list[dict[str, Any]]], file: Path) -> dict[str, list[dict[str, Any]]]:
    """The metrics.json documents by row id, with the mean human scores of their systems.

    A system is identified by the name of a row (``magic``, ``story/magic``) or of a measured system. A row that was not measured
    gets a document with human scores alone.

    Raises:
        MagicError: The file is damaged, or a system belongs to no row; names it.
    """
    document = read_json(file, setting="human_scores", hint=_HINT)
    systems = document.get("systems") if isinstance(document, Mapping) else None
    if not isinstance(systems, Mapping) or not systems:
        raise MagicError(f"human_scores={file}: no systems; {_HINT}")
    found = {row: list(documents) for row, documents in measured.items()}
    scored: dict[str, str] = {}
    for name, aspects in systems.items():
        row = _row(name, measured, file)
        if row in scored:
            raise SettingsError(f"human_scores={file}: {scored[row]} and {name} are both {row}; keep one")
        scored[row] = name
        means = {
            ASPECTS[aspect]: _metric(aspects[aspect], f"human_scores={file}: {name}, {aspect}")
            for aspect in ASPECTS
            if aspect in _object(aspects, file, name)
        }
        documents = found.get(row) or [{"system": name, "source": str(file), "n": "", "metrics": {}, "not_run": {}, "run": None}]
        found[row] = [one | {"metrics": one["metrics"] | means} for one in documents]
    return found


PREFERENCES = {"language": "human_language", "image_quality": "human_image_quality", "coherence": "human_coherence"}
"""The question of a study of pairs, and the key of the measure."""
PREFERENCES_ROW = "vist_people/first_system"
_PAIR_HINT = "give the scores.json of a study that was made with kind=pairs"


def add_preferences(measured: Mapping[str, list[dict[str, Any]]], file: Path) -> dict[str, list[dict[str, Any]]]:
    """The metrics.json documents by row id, and another one with the shares of answers that the first of two systems won.

    Raises:
        MagicError: The file is damaged, or belongs to another kind of study.
    """
    document = read_json(file, setting="human_scores", hint=_PAIR_HINT)
    found = document.get("preferences") if isinstance(document, Mapping) else None
    systems = document.get("systems") if found else None
    if (
        not isinstance(found, Mapping)
        or not isinstance(systems, list)
        or len(systems) != 2
        or not found.keys() & PREFERENCES.keys()
    ):
        raise MagicError(f"human_scores={file}: has no preferences between two systems; {_PAIR_HINT}")
    metrics = {PREFERENCES[key]: _share(found[key], f"human_scores={file}: {key}") for key in PREFERENCES if key in found}
    row = {
        "system": systems[0],
        "source": str(file),
        "n": document.get("items", ""),
        "metrics": metrics,
        "not_run": {},
        "run": None,
    }
    return {**measured, PREFERENCES_ROW: [row]}


def _share(outcomes: Any, place: str) -> dict[str, Any]:
    wins = outcomes.get("wins") if isinstance(outcomes, Mapping) else None
    share = _number(wins.get("share") if isinstance(wins, Mapping) else None, 0, 1, f"{place}: the share of wins", _PAIR_HINT)
    return _document(share, place.rpartition(": ")[2], scale=100.0, low=0.0, high=1.0)


def _object(aspects: Any, file: Path, name: str) -> Mapping[str, Any]:
    if not isinstance(aspects, Mapping) or not aspects.keys() & ASPECTS.keys():
        raise MagicError(f"human_scores={file}: {name} has none of {', '.join(ASPECTS)}; {_HINT}")
    return aspects


def _row(name: str, measured: Mapping[str, list[dict[str, Any]]], file: Path) -> str:
    rows = [row for row in load_paper().rows.values() if row.section == _SECTION]
    for row in rows:
        if name in (row.id, row.method):
            return row.id
    of_system = [row.id for row in rows if any(one["system"] == name for one in measured.get(row.id, ()))]
    if not of_system:
        raise SettingsError(
            f"human_scores={file}: {name} is neither a row nor a measured system; {nearest(name, [row.method for row in rows])}"
        )
    return of_system[0]


def _metric(score: Any, place: str) -> dict[str, Any]:
    mean = _number(score.get("mean") if isinstance(score, Mapping) else None, 1, 5, f"{place}: the mean", _HINT)
    return _document(mean, place.rpartition(", ")[2], scale=1.0, low=1.0, high=5.0)


def _number(value: Any, low: int, high: int, what: str, hint: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or not low <= value <= high:
        raise MagicError(f"{what} must be a number from {low} to {high}, got {str(value)[:60]}; {hint}")
    return float(value)


def _document(value: float, label: str, *, scale: float, low: float, high: float) -> dict[str, Any]:
    """A measure in the form of metrics.json."""
    return {
        "value": value,
        "interval": None,
        "label": label,
        "scale": scale,
        "digits": 2,
        "higher_is_better": True,
        "low": low,
        "high": high,
    }
