"""BLEU-1 to BLEU-4 (Papineni et al. 2002), with the numerics of pycocoevalcap 1.2."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np

from magic_cli.metrics.base import Corpus, Measure, Metric, Scores, Tokenized
from magic_cli.metrics.ngrams import MAX_ORDER, CorpusNgrams, NgramTables, tables_of

# pycocoevalcap keeps every precision above zero with these, so that one missing order does not hide the others
_SMALL, _TINY = 1e-9, 1e-15
_AT_ONCE = 50_000
"""Items whose n-grams are in memory together."""


@dataclass
class Bleu(Metric):
    """BLEU over the whole corpus, up to four orders; the reference length is the one closest to the caption's.

    If two references are equally close, the shorter one counts. One caption's own BLEU follows the same formula.
    """

    name: ClassVar[str] = "bleu"
    measures: ClassVar[tuple[Measure, ...]] = tuple(Measure(f"bleu_{n}", f"B@{n}", 0.0, 1.0) for n in range(1, MAX_ORDER + 1))
    needs_tokens: ClassVar[bool] = True

    def score(self, corpora: Sequence[Corpus]) -> list[list[Scores]]:
        if max(map(len, corpora)) <= _AT_ONCE:
            return [self._scores(statistics) for statistics in _statistics_of(*(corpus.tokens for corpus in corpora))]
        return [self._scores(np.concatenate([_statistics_of(part)[0] for part in _parts(corpus.tokens)])) for corpus in corpora]

    def _scores(self, statistics: np.ndarray) -> list[Scores]:
        total = statistics.sum(axis=0, keepdims=True)
        return [
            Scores(measure, float(bleu(total, order)[0]), bleu(statistics, order), statistics, partial(bleu, order=order))
            for order, measure in enumerate(self.measures, start=1)
        ]

    def facts(self) -> dict[str, Any]:
        return {"numerics": "pycocoevalcap 1.2", "reference_length": "closest", "smoothing": [_TINY, _SMALL]}


def bleu(statistics: np.ndarray, order: int) -> np.ndarray:
    """BLEU from counts.

    Args:
        statistics: (M, 10) of M captions or corpora: n-grams of the caption that the references have too (4 columns, for
            n = 1..4), n-grams of the caption (4 columns), tokens of the caption, tokens of the closest reference.
        order: Longest n-grams, 1 to 4.

    Returns:
        (M,) in [0, 1].
    """
    matched, total = statistics[:, :order], statistics[:, MAX_ORDER : MAX_ORDER + order]
    precision = ((matched + _TINY) / (total + _SMALL)).prod(axis=1) ** (1 / order)
    ratio = (statistics[:, -2] + _TINY) / (statistics[:, -1] + _SMALL)
    return precision * np.exp(np.minimum(0.0, 1 - 1 / ratio))


def _parts(tokens: Tokenized) -> Iterator[Tokenized]:
    """A large corpus in parts, each counted by itself: the n-grams of all of it would take some kilobytes an item."""
    for start in range(0, len(tokens.captions), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        yield Tokenized(tokens.captions[part], tokens.references[part])


def _statistics_of(*corpora: Tokenized) -> list[np.ndarray]:
    """(N, 10) for each corpus."""
    tables = tables_of(*corpora)
    most = [np.maximum.reduceat(index.entries.count, index.first[:-1]) for index in tables.references]
    return [_statistics(tables, most, corpus) for corpus in tables.corpora]


def _statistics(tables: NgramTables, most: list[np.ndarray], corpus: CorpusNgrams) -> np.ndarray:
    """(N, 10) what ``bleu`` needs for each caption; ``most``: how often at most one reference has an n-gram."""
    columns = np.empty((len(corpus.place), 2 * MAX_ORDER + 2))
    for i, (ngrams, index) in enumerate(zip(corpus.captions, tables.references, strict=True)):
        found, group = index.find(corpus.place[ngrams.sentence], ngrams.gram)
        matched = np.minimum(ngrams.count[found], most[i][group])
        columns[:, i] = np.bincount(ngrams.sentence[found], matched, minlength=len(columns))
        columns[:, MAX_ORDER + i] = np.maximum(0, corpus.lengths - i)
    columns[:, -2] = corpus.lengths
    columns[:, -1] = _closest_lengths(tables, corpus)
    return columns


def _closest_lengths(tables: NgramTables, corpus: CorpusNgrams) -> np.ndarray:
    """(N,) tokens of the reference whose length is closest to the caption's."""
    caption, reference = tables.pairs(corpus.place)
    length = tables.lengths[reference]
    longest = int(length.max(initial=0)) + 1
    rank = np.abs(length - corpus.lengths[caption]) * longest + length  # closest first, then shortest
    sizes = tables.sizes[corpus.place]
    return np.minimum.reduceat(rank, np.cumsum(sizes) - sizes) % longest
