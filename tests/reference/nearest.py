"""Slow, obvious nearest neighbours."""

import numpy as np


def nearest(stored: np.ndarray, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Cosines (Q, count) and numbers of the rows of ``stored`` (N, E) nearest to ``queries`` (Q, E); ties to the lower number.

    ``stored`` is as it lies on disk; queries are scaled to length 1 in float32, as the search does.
    """
    scores, numbers = [], []
    for query in queries.astype(np.float32):
        query = (query / np.linalg.norm(query[None], axis=1)).astype(np.float64)
        cosines = np.array([(row.astype(np.float64) * query).sum() for row in stored])
        order = np.argsort(-cosines, kind="stable")[:count]
        scores.append(cosines[order])
        numbers.append(order)
    return np.array(scores), np.array(numbers)
