"""The nearest features to a query: FAISS finds candidates, whose exact cosines then decide.

In a product of matrices, equal features may get scores that differ in the last bit, depending on their position. So the
candidates are sorted by cosines in float64, each summed by itself. Equal features then tie, and the lower number comes first.
"""

from __future__ import annotations

from typing import Protocol

import faiss
import numpy as np

from magic_cli.models.threads import threads_to_start
from magic_cli.retrieval.features import Features
from magic_cli.retrieval.settings import IndexSettings
from magic_cli.retrieval.store import to_unit_length

_SPARE = 16  # extra candidates, because rounding may separate features that tie
_ROUNDING = 1e-5  # largest error of a float32 product of unit vectors
_QUERIES_AT_ONCE = 256


class Candidates(Protocol):
    """Finds rows near a query; rounding may change the scores a little."""

    is_exact: bool

    def top(self, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Scores (Q, count), best first, and row numbers (-1 where there are no more) for queries (Q, E) of length 1."""


class InMemory:
    """FAISS' flat index: every feature in memory as float32."""

    is_exact = True

    def __init__(self, features: Features) -> None:
        self._index = faiss.IndexFlatIP(features.dim)
        for _, block in features.blocks():
            self._index.add(block)

    def top(self, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        return self._index.search(queries, count)


class OnDisk:
    """Reads every feature from disk, one block in memory at a time."""

    is_exact = True

    def __init__(self, features: Features) -> None:
        self._features = features

    def top(self, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        best = np.full((len(queries), count), -np.inf, np.float32)
        numbers = np.full((len(queries), count), -1, np.int64)
        for start, block in self._features.blocks():
            scores, places = faiss.knn(queries, block, min(count, len(block)), metric=faiss.METRIC_INNER_PRODUCT)
            best, numbers = np.hstack([best, scores]), np.hstack([numbers, places + start])
            order = np.argsort(-best, axis=1, kind="stable")[:, :count]
            best, numbers = np.take_along_axis(best, order, 1), np.take_along_axis(numbers, order, 1)
        return best, numbers


class Search:
    """Finds the best rows for any query.

    Args:
        features: The features to search; at least one row.
        candidates: Finds candidates.
    """

    def __init__(self, features: Features, candidates: Candidates) -> None:
        self.features, self._candidates = features, candidates

    def best(self, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """The best rows for queries (Q, E) of any length.

        Returns:
            Cosines (Q, count) in float64, best first, and row numbers. There are fewer columns if there are fewer rows. Where an
            approximate index finds too few rows, -inf and -1 fill the end.
        """
        count = min(count, self.features.rows)
        unit = to_unit_length(queries)
        parts = [self._best(unit[i : i + _QUERIES_AT_ONCE], count, count + _SPARE) for i in range(0, len(unit), _QUERIES_AT_ONCE)]
        empty = np.empty((0, count))
        return (
            np.concatenate([p[0] for p in parts] or [empty]),
            np.concatenate([p[1] for p in parts] or [empty.astype(np.int64)]),
        )

    def _best(self, queries: np.ndarray, count: int, look_at: int) -> tuple[np.ndarray, np.ndarray]:
        look_at = min(look_at, self.features.rows)
        rough, numbers = self._candidates.top(queries, look_at)
        scores = self._cosines(queries, numbers)
        order = np.lexsort((numbers, -scores), axis=1)[:, :count]
        best, chosen = np.take_along_axis(scores, order, 1), np.take_along_axis(numbers, order, 1)
        if self._candidates.is_exact and look_at < self.features.rows:
            # a row outside the candidates could still tie with the last chosen one: get more candidates
            unsure = np.flatnonzero(rough[:, -1] + _ROUNDING >= best[:, -1])
            if len(unsure):
                best[unsure], chosen[unsure] = self._best(queries[unsure], count, look_at * 4)
        return best, chosen

    def _cosines(self, queries: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """(Q, C) cosines of queries (Q, E) with the rows ``numbers`` (Q, C); -inf where there is no row."""
        scores = np.full(numbers.shape, -np.inf)
        for row, (query, chosen) in enumerate(zip(queries.astype(np.float64), numbers, strict=True)):
            found = chosen >= 0
            features = self.features.take(chosen[found]).astype(np.float64)
            scores[row, found] = (features * query).sum(axis=1)  # not @, whose result would depend on the other rows
        return scores


def open_search(features: Features, settings: IndexSettings, *, threads: int | None) -> Search:
    """Open the index of these settings over the features; an approximate one is built first if needed.

    Args:
        features: The features to search; at least one row.
        settings: Kind of index.
        threads: Threads for FAISS; None: FAISS decides, within the quota of cores.
    """
    from magic_cli.retrieval.approximate import Approximate

    faiss.omp_set_num_threads(threads_to_start(threads, faiss.omp_get_max_threads()))
    if settings.kind != "exact":
        return Search(features, Approximate(features, settings))
    fits = features.rows * features.dim * 4 <= settings.memory_gib * 2**30
    return Search(features, InMemory(features) if fits else OnDisk(features))
