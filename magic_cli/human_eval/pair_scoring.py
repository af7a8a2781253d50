"""Turns preferences into results: how often each of two systems won, with intervals, agreement and a test.

An item's share of wins is the mean over its annotators; a system's share is the mean over items. Items are resampled.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from magic_cli.evaluation.settings import BootstrapSettings
from magic_cli.human_eval.answers import Preferences
from magic_cli.human_eval.aspects import PAIRS, Aspect
from magic_cli.human_eval.scoring import agreement_of, mean_over_annotators
from magic_cli.metrics.base import Measure, Scores
from magic_cli.metrics.statistics import holm

PAIR_SCORES_KIND = "magic human-eval pair scores 1"
_OUTCOMES = {"wins": 1, "ties": 0, "losses": -1}


def score_pairs(preferences: Preferences, bootstrap: BootstrapSettings) -> dict[str, Any]:
    """The content of scores.json for a study of pairs.

    Args:
        preferences: All answers.
        bootstrap: Settings of intervals and tests.
    """
    judged = [i for i in range(len(PAIRS.aspects)) if not np.isnan(preferences.preferred[..., i]).all()]
    found = {PAIRS.aspects[i].key: _outcomes(PAIRS.aspects[i], preferences.preferred[..., i], bootstrap) for i in judged}
    for one, corrected in zip(found.values(), holm([one["p_value"] for one in found.values()]), strict=True):
        one["p_holm"] = corrected
    return {
        "kind": PAIR_SCORES_KIND,
        "systems": list(preferences.systems),
        "items": len(preferences.items),
        "annotators": list(preferences.annotators),
        "open_questions": preferences.num_open,
        "preferences": found,
        "agreement": {PAIRS.aspects[i].key: agreement_of(preferences.preferred[..., i], "pairs") for i in judged},
    }


def _outcomes(aspect: Aspect, preferred: np.ndarray, bootstrap: BootstrapSettings) -> dict[str, Any]:
    """For one question (R, N): shares of wins of the first system, of ties and losses; and wins minus losses, with a test."""
    shares = {name: _share(preferred, value) for name, value in _OUTCOMES.items()}  # (n,) over the judged items
    resampler = bootstrap.resampler(len(shares["wins"]))
    outcomes: dict[str, Any] = {"judged": int((~np.isnan(preferred)).sum()), "items": len(shares["wins"])}
    for name, share in shares.items():
        interval = resampler.intervals([_scores(aspect, share)], bootstrap.confidence)[0] if resampler else None
        low, high = (interval.low, interval.high) if interval else (None, None)
        outcomes[name] = {"share": float(share.mean()), "low": low, "high": high}
    difference = {"difference": float((shares["wins"] - shares["losses"]).mean()), "low": None, "high": None, "p_value": None}
    if resampler:
        wins, losses = ([_scores(aspect, shares[name])] for name in ("wins", "losses"))
        [tested] = resampler.comparisons(wins, losses, bootstrap.confidence)
        difference = {name: getattr(tested, name) for name in difference}
    return outcomes | difference


def _share(preferred: np.ndarray, value: int) -> np.ndarray:
    """(R, N) -> (n,): for each judged item, the share of annotators with this outcome."""
    means = mean_over_annotators(np.where(np.isnan(preferred), np.nan, preferred == value))
    return means[~np.isnan(means)]


def _scores(aspect: Aspect, per_item: np.ndarray) -> Scores:
    return Scores(Measure(aspect.key, aspect.label, 0, 1), float(per_item.mean()), per_item)
