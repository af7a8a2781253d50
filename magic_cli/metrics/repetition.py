"""How much texts repeat themselves, and how rich their words are: no references and no images needed.

rep-n and diversity as in Su et al. 2022 ("A Contrastive Framework for Neural Text Generation", after Welleck et al. 2020);
distinct-n as in Li et al. 2016.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np

from magic_cli.metrics.base import Corpus, Measure, Metric, Scores

REP_ORDERS = (2, 3, 4)


@dataclass
class Repetition(Metric):
    """rep-2 to rep-4, diversity and vocabulary figures of the captions as they are: white-space tokens, case kept.

    rep-n = 1 - (n-grams that are distinct within their text) / (n-grams), both summed over all texts; diversity = product
    of 1 - rep-n for n = 2, 3, 4. distinct-n = distinct n-grams of the corpus / its n-grams; vocabulary = distinct tokens
    of the corpus. These two depend on the number of texts, and a resampled corpus has fewer of them than a true one, so
    they and the share of distinct captions have no bootstrap interval.

    Attributes:
        last_ngram: Whether the last n-gram of a text counts in rep-n and diversity, as in the papers' formula. The
            released code, which gave the published numbers, leaves it out.
        rounded: Whether diversity is the product of rep-n rounded to 0.01 %, as in the released code; rep-n itself is not.
    """

    name: ClassVar[str] = "repetition"
    needs_references: ClassVar[bool] = False
    measures: ClassVar[tuple[Measure, ...]] = (
        *(Measure(f"rep_{n}", f"rep-{n}", 0.0, 1.0, higher_is_better=False) for n in REP_ORDERS),
        Measure("diversity", "diversity", 0.0, 1.0, scale=1.0, digits=4),
        Measure("vocabulary", "vocabulary", 0.0, math.inf, scale=1.0, digits=0),
        Measure("distinct_1", "distinct-1", 0.0, 1.0),
        Measure("distinct_2", "distinct-2", 0.0, 1.0),
        Measure("distinct_captions", "distinct captions", 0.0, 1.0),
        Measure("mean_length", "mean length", 0.0, math.inf, higher_is_better=None, scale=1.0),
    )

    last_ngram: bool = False
    rounded: bool = True

    def score(self, corpora: Sequence[Corpus]) -> list[list[Scores]]:
        return [self._score_captions(corpus.captions) for corpus in corpora]

    def _score_captions(self, captions: Sequence[str]) -> list[Scores]:
        counts = np.empty((len(captions), 2 * len(REP_ORDERS)))  # (N, 6)
        lengths = np.empty(len(captions))
        unigrams: set[str] = set()
        bigrams: set[tuple[str, ...]] = set()
        for i, caption in enumerate(captions):
            tokens = caption.split()
            counts[i], lengths[i] = self._counts(tokens), len(tokens)
            unigrams.update(tokens)
            bigrams.update(ngrams(tokens, 2))
        columns = [*(np.ascontiguousarray(counts[:, 2 * i : 2 * i + 2]) for i in range(len(REP_ORDERS))), counts]  # for fast sums
        combines: list[Callable[[np.ndarray], np.ndarray]] = [
            repetition,
            repetition,
            repetition,
            partial(diversity, rounded=self.rounded),
        ]
        scores = [
            Scores(measure, float(combine(sums.sum(axis=0, keepdims=True))[0]), _of_each(sums, combine), sums, combine)
            for measure, sums, combine in zip(self.measures, columns, combines, strict=False)
        ]
        no_value = np.full(len(captions), np.nan)
        num_unigrams, num_bigrams = int(lengths.sum()), int(np.maximum(lengths - 1, 0).sum())
        distinct = [(len(unigrams), num_unigrams), (len(bigrams), num_bigrams), (len(set(captions)), len(captions))]
        of_corpus = [len(unigrams), *(found / total if total else 0.0 for found, total in distinct)]
        scores += [Scores(measure, float(value), no_value) for measure, value in zip(self.measures[4:8], of_corpus, strict=True)]
        return [*scores, Scores(self.measures[8], float(lengths.mean()), lengths)]

    def _counts(self, tokens: list[str]) -> list[int]:
        """Distinct n-grams and n-grams of one text, for n = 2, 3, 4."""
        numbers = []
        for n in REP_ORDERS:
            grams = ngrams(tokens, n)
            counted = grams if self.last_ngram else grams[:-1]
            numbers += [len(set(counted)), len(counted)]
        return numbers

    def facts(self) -> dict[str, Any]:
        return {"tokens": "white space, case kept", "last_ngram": self.last_ngram, "rounded": self.rounded}


def ngrams(tokens: Sequence[str], n: int) -> list[tuple[str, ...]]:
    """All n-grams of a text, repeated ones repeatedly.

    >>> ngrams(["a", "b", "c"], 2)
    [('a', 'b'), ('b', 'c')]
    """
    return list(zip(*(tokens[i:] for i in range(n)), strict=False))


def repetition(counts: np.ndarray) -> np.ndarray:
    """rep-n from sums: (M, 2) distinct n-grams and n-grams -> (M,) in [0, 1]; 0 where there is no n-gram."""
    distinct, total = counts.T
    return 1 - np.divide(distinct, total, out=np.ones(len(counts)), where=total > 0)


def diversity(counts: np.ndarray, *, rounded: bool) -> np.ndarray:
    """Diversity from sums: (M, 6) distinct n-grams and n-grams for n = 2, 3, 4 -> (M,) in [0, 1]."""
    repeated = np.stack([repetition(counts[:, i : i + 2]) for i in range(0, counts.shape[1], 2)])  # (3, M)
    return np.prod(1 - (repeated.round(4) if rounded else repeated), axis=0)


def _of_each(counts: np.ndarray, combine: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """(N,) each text's own value; NaN where a text is too short to have one."""
    return np.where((counts[:, 1::2] > 0).all(axis=1), combine(counts), np.nan)
