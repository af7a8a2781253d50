"""How sure a score is: bootstrap intervals, and a paired test between two systems on the same items.

Intervals are percentile bootstrap intervals (Efron & Tibshirani 1993; for corpus measures Koehn 2004): items are drawn with
replacement and the measure is computed anew from the drawn items' sums. The test is approximate randomisation (Noreen
1989), which Riezler & Maxwell (2005) found to reject less often without cause than the bootstrap: under the null
hypothesis the two systems' captions of an item can be swapped, so the observed difference is compared with those after
random swaps.

CIDEr's items keep the idf of the full set, in both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from magic_cli.metrics.base import Scores
from magic_cli.terminal.progress import progress

_CELLS_AT_ONCE = 1 << 20  # random numbers of one chunk: 8 MB of counts, however many items and samples there are

# Two streams of one seed, so that intervals of one system and of a difference rest on the same resamples, while the
# swaps do not repeat their random bits.
_RESAMPLING, _SWAPPING = 0, 1


@dataclass(frozen=True)
class Interval:
    """A confidence interval of one measure, not times its scale."""

    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """System A against system B in one measure, not times its scale."""

    difference: float
    """Overall value of A less that of B."""
    low: float
    """Confidence interval of the difference."""
    high: float
    p_value: float
    """Two-sided, in (0, 1]: how often random swaps give a difference at least as large."""


class Resampler:
    """Draws random samples of the items. The same numbers draw the same samples, for all measures and systems alike."""

    def __init__(self, num_items: int, *, samples: int, seed: int) -> None:
        """Nothing is drawn yet.

        Args:
            num_items: Items of each system, at least 1.
            samples: Resampled corpora, at least 1; papers take 1,000 to 10,000.
            seed: At least 0.
        """
        if num_items < 1 or samples < 1:
            raise ValueError(f"at least one item and one sample are needed, got {num_items} and {samples}")
        self.num_items, self.samples, self.seed = num_items, samples, seed

    def intervals(self, scores: Sequence[Scores], confidence: float) -> list[Interval | None]:
        """Confidence intervals of several measures of one system, all from the same samples, drawn once.

        Args:
            scores: M measures.
            confidence: In (0, 1).

        Returns:
            M intervals; None for a measure that is no function of sums over items, such as the size of the vocabulary.
        """
        self._check(scores)
        sound = [one for one in scores if can_resample(one)]
        rows = _rows(lambda counts: [one.resample(counts) for one in sound], self._counts())
        found = (Interval(*_ends(row, confidence)) for row in rows)
        return [next(found) if can_resample(one) else None for one in scores]

    def comparisons(self, a: Sequence[Scores], b: Sequence[Scores], confidence: float) -> list[Comparison | None]:
        """Several measures of system A against those of system B.

        Args:
            a: M measures of A.
            b: The same measures of B, of the same items in the same order.
            confidence: Of the difference's interval, in (0, 1).

        Returns:
            M comparisons; None for a measure that is no function of sums over items.
        """
        self._check(a)
        self._check(b)
        if [one.measure.key for one in a] != [one.measure.key for one in b]:
            raise ValueError(f"not the same measures: {[one.measure.key for one in a]} and {[one.measure.key for one in b]}")
        pairs = [(one, other) for one, other in zip(a, b, strict=True) if can_resample(one) and can_resample(other)]
        rows = _rows(lambda counts: [one.resample(counts) - other.resample(counts) for one, other in pairs], self._counts())
        found = (
            Comparison(one.overall - other.overall, *_ends(row, confidence), p_value)
            for (one, other), row, p_value in zip(pairs, rows, self._p_values(pairs), strict=True)
        )
        return [next(found) if can_resample(one) and can_resample(other) else None for one, other in zip(a, b, strict=True)]

    def _p_values(self, pairs: Sequence[tuple[Scores, Scores]]) -> list[float]:
        rows = _rows(lambda swaps: [_swapped_difference(a, b, swaps) for a, b in pairs], self._swaps())
        # a swap that changes nothing reaches the observed difference too, whatever the order of summation
        reached = [(np.abs(row) >= abs(a.overall - b.overall) - 1e-12).sum() for (a, b), row in zip(pairs, rows, strict=True)]
        return [float((count + 1) / (self.samples + 1)) for count in reached]

    def _counts(self) -> Iterator[np.ndarray]:
        """(r, N) in turn: how often each item stands in each of r resampled corpora."""
        for rng, r in self._chunks(_RESAMPLING):
            drawn = rng.integers(self.num_items, size=(r, self.num_items))
            drawn += self.num_items * np.arange(r)[:, None]
            counts = np.bincount(drawn.ravel(), minlength=r * self.num_items)
            yield counts.reshape(r, self.num_items).astype(np.float64)

    def _swaps(self) -> Iterator[np.ndarray]:
        """(r, N) in turn: 1 where the systems' captions of an item change places, else 0."""
        for rng, r in self._chunks(_SWAPPING):
            yield rng.integers(2, size=(r, self.num_items), dtype=np.int8).astype(np.float64)

    def _chunks(self, stream: int) -> Iterator[tuple[np.random.Generator, int]]:
        rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(stream,)))
        size = max(1, _CELLS_AT_ONCE // self.num_items)
        what = "intervals" if stream == _RESAMPLING else "tests"
        with progress(self.samples, what, "sample", leave=False) as bar:
            for start in range(0, self.samples, size):
                count = min(size, self.samples - start)
                yield rng, count
                bar.update(count)

    def _check(self, scores: Sequence[Scores]) -> None:
        for one in scores:
            if len(one.per_item) != self.num_items:
                raise ValueError(f"{one.measure.key} has {len(one.per_item)} items, expected {self.num_items}")


def can_resample(scores: Scores) -> bool:
    """Whether resampled corpora have a value: the measure has sums to combine, or is the mean of the items."""
    return scores.combine is not None or not np.isnan(scores.per_item).any()


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """P-values corrected for their number (Holm 1979); None stays None and does not count.

    >>> holm([0.01, 0.04, None, 0.03])
    [0.03, 0.06, None, 0.06]
    """
    known = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    least = 0.0
    for rank, (p, i) in enumerate(known):
        least = max(least, min(1.0, p * (len(known) - rank)))
        corrected[i] = least
    return corrected


def _swapped_difference(a: Scores, b: Scores, swaps: np.ndarray) -> np.ndarray:
    """(r,) A less B, where each row of ``swaps`` (r, N) says which items have changed places."""
    if a.combine is None or b.combine is None or a.statistics is None or b.statistics is None:
        per_item = a.per_item - b.per_item
        return per_item.mean() - 2 * (swaps @ per_item) / len(per_item)
    moved = swaps @ (b.statistics - a.statistics)  # (r, S)
    return a.combine(a.statistics.sum(axis=0) + moved) - b.combine(b.statistics.sum(axis=0) - moved)


def _rows(values: Callable[[np.ndarray], list[np.ndarray]], chunks: Iterator[np.ndarray]) -> list[np.ndarray]:
    """(samples,) of each measure, from its values (r,) of each chunk of samples."""
    return [np.concatenate(parts) for parts in zip(*map(values, chunks), strict=True)]


def _ends(values: np.ndarray, confidence: float) -> tuple[float, float]:
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)
