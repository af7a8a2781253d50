"""Krippendorff's alpha: how far annotators agree beyond chance (Krippendorff, Computing Krippendorff's Alpha-Reliability, 2011)."""

from __future__ import annotations

import numpy as np


def krippendorff_alpha(ratings: np.ndarray, *, ordinal: bool) -> float | None:
    """Agreement of several annotators on the same units; answers may be missing.

    Args:
        ratings: (U, R) score of each unit by each annotator; NaN where there is none.
        ordinal: Distances are numbers of scores between two values; else squared differences (interval).

    Returns:
        1: complete agreement; 0: agreement by chance; below 0: worse than chance. None if it is not defined: no unit has two
        scores, or all scores that can be paired are equal.
    """
    values = np.unique(ratings[~np.isnan(ratings)])
    counts = (ratings[:, :, None] == values).sum(axis=1).astype(np.float64)  # (U, C)
    counts = counts[counts.sum(axis=1) >= 2]  # a single score cannot be paired
    if not len(counts):
        return None
    pairs = counts[:, :, None] * counts[:, None, :] - counts[:, :, None] * np.eye(len(values))  # (U, C, C)
    observed = (pairs / (counts.sum(axis=1) - 1)[:, None, None]).sum(axis=0)
    totals = observed.sum(axis=0)  # (C,)
    expected = (np.outer(totals, totals) - np.diag(totals)) / (totals.sum() - 1)
    distances = _ordinal_distances(totals) if ordinal else (values[:, None] - values[None, :]) ** 2
    by_chance = (expected * distances).sum()
    return float(1 - (observed * distances).sum() / by_chance) if by_chance > 0 else None


def _ordinal_distances(totals: np.ndarray) -> np.ndarray:
    """(C, C) squared number of scores between two values; each of the two values counts half."""
    middle = np.cumsum(totals) - totals / 2
    return (middle[:, None] - middle[None, :]) ** 2
