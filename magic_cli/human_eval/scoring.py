"""Turns scores into results: means with intervals, agreement, and every pair of systems against each other.

A title's score is the mean over its annotators; a system's score is the mean over titles. Titles are resampled, because
several annotators' answers about one story are not independent. If answers are missing, a title's mean is over the answers
that exist.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np

from magic_cli.evaluation.settings import BootstrapSettings
from magic_cli.human_eval.agreement import krippendorff_alpha
from magic_cli.human_eval.answers import Ratings
from magic_cli.human_eval.aspects import STORIES, Aspect
from magic_cli.metrics.base import Measure, Scores
from magic_cli.metrics.statistics import holm

ASPECTS = STORIES.aspects

SCORES_KIND = "magic human-eval scores 1"


def score(ratings: Ratings, bootstrap: BootstrapSettings) -> dict[str, Any]:
    """The content of scores.json.

    Args:
        ratings: All scores.
        bootstrap: Settings of intervals and tests.
    """
    means = mean_over_annotators(ratings.scores)  # (N, S, A)
    asked = [i for i in range(len(ASPECTS)) if not np.isnan(means[..., i]).all()]
    return {
        "kind": SCORES_KIND,
        "items": len(ratings.items),
        "annotators": list(ratings.annotators),
        "open_questions": ratings.num_open,
        "systems": {
            name: {ASPECTS[i].key: found for i in asked if (found := _mean(ASPECTS[i], means[:, s, i], bootstrap)) is not None}
            for s, name in enumerate(ratings.systems)
        },
        "agreement": {ASPECTS[i].key: agreement_of(ratings.scores[..., i], "stories") for i in asked},
        "pairs": [pair for i in asked for pair in _pairs(ratings, means, i, bootstrap)],
    }


def mean_over_annotators(scores: np.ndarray) -> np.ndarray:
    """(R, N, ...) -> (N, ...); NaN if nobody answered."""
    given = (~np.isnan(scores)).sum(axis=0)
    return np.where(given > 0, np.nansum(scores, axis=0), np.nan) / np.maximum(given, 1)


def _mean(aspect: Aspect, per_item: np.ndarray, bootstrap: BootstrapSettings) -> dict[str, Any] | None:
    """One system's mean in one aspect. A single title allows no interval. None: nobody answered."""
    per_item = per_item[~np.isnan(per_item)]
    if not len(per_item):
        return None
    resampler = bootstrap.resampler(len(per_item))
    interval = resampler.intervals([_scores(aspect, per_item)], bootstrap.confidence)[0] if resampler else None
    low, high = (interval.low, interval.high) if interval else (None, None)
    return {"mean": float(per_item.mean()), "low": low, "high": high, "items": len(per_item)}


def agreement_of(scores: np.ndarray, unit: str) -> dict[str, Any]:
    """Agreement in one aspect (R, N, ...) over all stories or pairs; ``unit`` names the count of those with two answers."""
    units = scores.reshape(len(scores), -1).T  # (N * S, R)
    return {
        "alpha_ordinal": krippendorff_alpha(units, ordinal=True),
        "alpha_interval": krippendorff_alpha(units, ordinal=False),
        unit: int(((~np.isnan(units)).sum(axis=1) >= 2).sum()),
    }


def _pairs(ratings: Ratings, means: np.ndarray, i: int, bootstrap: BootstrapSettings) -> list[dict[str, Any]]:
    """All pairs of systems in aspect ``i``; p-values also with Holm's correction for the number of pairs."""
    pairs = []
    for a, b in combinations(range(len(ratings.systems)), 2):
        first, second = ratings.scores[:, :, a, i], ratings.scores[:, :, b, i]  # (R, N)
        judged = int((~np.isnan(first) & ~np.isnan(second)).sum())
        wins, losses = int((first > second).sum()), int((first < second).sum())
        pairs.append({
            "aspect": ASPECTS[i].key, "first": ratings.systems[a], "second": ratings.systems[b],
            "judged": judged, "wins": wins, "ties": judged - wins - losses, "losses": losses,
            **_difference(ASPECTS[i], means[:, a, i], means[:, b, i], bootstrap),
        })  # fmt: skip
    for pair, corrected in zip(pairs, holm([pair["p_value"] for pair in pairs]), strict=True):
        pair["p_holm"] = corrected
    return pairs


def _difference(aspect: Aspect, first: np.ndarray, second: np.ndarray, bootstrap: BootstrapSettings) -> dict[str, Any]:
    both = ~np.isnan(first) & ~np.isnan(second)
    resampler = bootstrap.resampler(int(both.sum()))
    found = None
    if resampler is not None:  # else there may be no title at all, which has no mean
        [found] = resampler.comparisons([_scores(aspect, first[both])], [_scores(aspect, second[both])], bootstrap.confidence)
    if found is None:
        difference = float((first - second)[both].mean()) if both.any() else None
        return {"difference": difference, "low": None, "high": None, "p_value": None}
    return {"difference": found.difference, "low": found.low, "high": found.high, "p_value": found.p_value}


def _scores(aspect: Aspect, per_item: np.ndarray) -> Scores:
    return Scores(Measure(aspect.key, aspect.label, STORIES.lowest, STORIES.highest, scale=1), float(per_item.mean()), per_item)
