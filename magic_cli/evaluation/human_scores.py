"""Scores that people gave stories (``magic human-eval score``), as columns of table 3."""

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
"""Aspect in the file: key of the measure."""
_SECTION = "story"
_HINT = 'give a file of `magic human-eval score`: {"systems": {name: {"relevance": {"mean": 4.1}, ...}}}'


def add_human_scores(measured: Mapping[str, list[dict[str, Any]]], file: Path) -> dict[str, list[dict[str, Any]]]:
    """The documents of metrics.json by row id, with the human means of their system.

    A system is known by the name of a row (``magic``, ``story/magic``) or of a measured system; a row that was not measured gets a
    document that holds nothing else.

    Raises:
        MagicError: The file is damaged, or a system belongs to no row; the message names it.
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
    mean = score.get("mean") if isinstance(score, Mapping) else None
    if isinstance(mean, bool) or not isinstance(mean, int | float) or not math.isfinite(mean) or not 1 <= mean <= 5:
        raise MagicError(f"{place}: the mean must be a number from 1 to 5, got {str(mean)[:60]}; {_HINT}")
    return {
        "value": float(mean),
        "interval": None,
        "label": place.rpartition(", ")[2],
        "scale": 1.0,
        "digits": 2,
        "higher_is_better": True,
        "low": 1.0,
        "high": 5.0,
    }
