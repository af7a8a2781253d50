"""What SPICE counts in one caption, and the scores that follow from it (Anderson et al. 2016, equations 4 to 6)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from magic_cli.data.json_text import parse_json
from magic_cli.metrics.java.runtime import JavaFailed
from magic_cli.terminal.wording import counted

SUBSETS = ("object", "relation", "attribute", "color", "cardinality", "size")
"""Kinds of propositions with a score of their own. Colour, cardinality and size are some of the attributes."""

_CATEGORIES = ("All", "Object", "Relation", "Attribute", "Color", "Cardinality", "Size")
_COUNTS = ("tp", "fp", "fn")
COUNTS_SHAPE = (len(_CATEGORIES), len(_COUNTS))
"""All propositions, then each subset; propositions that match, those only in the caption, those only in the references.

The last may be negative: SPICE may match several propositions of a caption to one of the references.
"""


def f_scores(counts: np.ndarray) -> np.ndarray:
    """F-scores exactly as SPICE computes them, bit for bit.

    Args:
        counts: (..., 3) propositions that match, that only the caption has, that only the references have.

    Returns:
        (...) harmonic mean of precision and recall, float64; 0 where either is 0 or undefined.
    """
    matched, extra, missed = np.moveaxis(np.asarray(counts, dtype=np.float64), -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        recall, precision = matched / (missed + matched), matched / (extra + matched)
        scores = 2.0 * (precision * recall) / (precision + recall)
    return np.where((matched > 0) & (missed + matched > 0), scores, 0.0)


def subset_scores(counts: np.ndarray) -> list[dict[str, float | None]]:
    """F-score of each of ``SUBSETS``, None where the references have no such proposition.

    Args:
        counts: (N, *COUNTS_SHAPE).

    Returns:
        N dicts.
    """
    subsets = counts[:, 1:]
    scores = f_scores(subsets).astype(object)
    scores[subsets[..., 0] + subsets[..., 2] <= 0] = None
    return [dict(zip(SUBSETS, item, strict=True)) for item in scores.tolist()]


def read_counts(file: Path, num_items: int) -> np.ndarray:
    """Counts of the items 0 .. N-1 from SPICE's output file.

    Returns:
        (N, *COUNTS_SHAPE) int64.

    Raises:
        JavaFailed: The file is not there or not complete, or is not what SPICE writes about N items.
    """
    try:
        results = parse_json(file.read_text(encoding="utf-8"))
        ids = [result["image_id"] for result in results]
        scores = [[result["scores"][category] for category in _CATEGORIES] for result in results]
        counts = np.array([[[score[name] for name in _COUNTS] for score in item] for item in scores])
        values = np.array([item[0]["f"] for item in scores], dtype=np.float64)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise JavaFailed(f"SPICE: its output cannot be read ({type(error).__name__}: {error})") from error
    if ids != list(range(num_items)):
        raise JavaFailed(f"SPICE: gave {counted(len(ids), 'result')} for {counted(num_items, 'caption')}, or in another order")
    if counts.shape != (num_items, *COUNTS_SHAPE) or counts.dtype != np.int64 or (counts[..., :2] < 0).any():
        raise JavaFailed("SPICE: gave counts that are no counts")
    if not np.array_equal(f_scores(counts[:, 0]), values):
        raise JavaFailed("SPICE: gave scores that do not follow from its counts")
    return counts
