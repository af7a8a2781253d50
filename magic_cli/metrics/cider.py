"""CIDEr-D (Vedantam et al. 2015), with the numerics of pycocoevalcap 1.2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from magic_cli.errors import require
from magic_cli.metrics.base import Corpus, Measure, Metric, Scores
from magic_cli.metrics.ngrams import MAX_ORDER, CorpusNgrams, NgramTables, ReferenceIndex, ranges, tables_of


@dataclass
class Cider(Metric):
    """CIDEr-D: mean over n = 1..4 and over references of the clipped tf-idf cosine, times 10.

    The idf comes from the references of the evaluated images, so the same caption scores differently in another
    selection of images, and one image alone scores 0. Bootstrap samples keep the idf of the full set, as each image's
    score is resampled, not recomputed.

    Attributes:
        sigma: Width, in bigrams, of the Gaussian penalty on a difference in length; 0.001 to 1,000,000.
    """

    name: ClassVar[str] = "cider"
    measures: ClassVar[tuple[Measure, ...]] = (Measure("cider", "CIDEr", 0.0, 10.0),)
    needs_tokens: ClassVar[bool] = True

    sigma: float = 6.0

    def __post_init__(self) -> None:
        require("sigma", self.sigma, prefix="metrics.cider", above=0, floor=0.001, limit=1_000_000)

    def score(self, corpora: Sequence[Corpus]) -> list[list[Scores]]:
        tables = tables_of(*(corpus.tokens for corpus in corpora))
        weights: dict[bytes, _Weights] = {}
        results = []
        for ngrams in tables.corpora:
            images = np.bincount(ngrams.place, minlength=len(tables.sizes))
            key = images.tobytes()
            if key not in weights:
                weights[key] = _Weights(tables, images)
            per_item = self._score(tables, weights[key], ngrams)
            results.append([Scores(self.measures[0], float(per_item.mean()), per_item)])
        return results

    def _score(self, tables: NgramTables, weights: _Weights, corpus: CorpusNgrams) -> np.ndarray:
        """(N,) CIDEr-D of each caption."""
        caption, reference = tables.pairs(corpus.place)
        sizes = tables.sizes[corpus.place]
        shift = np.cumsum(sizes) - sizes - tables.first[corpus.place]  # (N,) pair of a caption = shift + reference
        similarity = np.zeros(len(caption))
        for ngrams, index, weight, norm in zip(corpus.captions, tables.references, weights.idf, weights.norms, strict=True):
            lengths = _norms(ngrams.sentence, ngrams.count * weight[ngrams.gram], len(corpus.place))
            product = lengths[caption] * norm[reference]
            found, group = index.find(corpus.place[ngrams.sentence], ngrams.gram)
            times = index.first[group + 1] - index.first[group]  # references that have the n-gram
            mine, theirs = np.repeat(found, times), ranges(index.first[group], times)
            there = index.entries.count[theirs]
            dot = np.minimum(ngrams.count[mine], there) * there * weight[ngrams.gram[mine]] ** 2
            dots = np.bincount(shift[ngrams.sentence[mine]] + index.entries.sentence[theirs], dot, minlength=len(caption))
            similarity += np.divide(dots, product, out=np.zeros(len(caption)), where=product > 0)
        bigrams = np.maximum(0, corpus.lengths - 1)[caption] - np.maximum(0, tables.lengths - 1)[reference]
        similarity *= np.exp(-(bigrams**2) / (2 * self.sigma**2))
        return 10 / MAX_ORDER * np.bincount(caption, similarity, minlength=len(sizes)) / sizes

    def facts(self) -> dict[str, Any]:
        return {
            "numerics": "pycocoevalcap 1.2",
            "variant": "CIDEr-D",
            "sigma": self.sigma,
            "idf": "references of the evaluated images",
        }


class _Weights:
    """The weights of the references' n-grams, from a set of images.

    Attributes:
        idf: For orders 1 to 4, (num_grams,) log of images over images whose references have the n-gram.
        norms: For orders 1 to 4, (R,) length of each reference's tf-idf vector.
    """

    def __init__(self, tables: NgramTables, images: np.ndarray) -> None:
        """``images``: (U,) how many of the evaluated images have each tuple of references."""
        self.idf = [_idf(index, images) for index in tables.references]
        self.norms = [
            _norms(index.entries.sentence, index.entries.count * idf[index.entries.gram], len(tables.lengths))
            for index, idf in zip(tables.references, self.idf, strict=True)
        ]


def _idf(index: ReferenceIndex, images: np.ndarray) -> np.ndarray:
    frequency = np.bincount(index.gram, images[index.place], minlength=index.entries.num_grams).astype(np.int64)
    logs = np.zeros(images.sum() + 1)  # an n-gram that no reference has counts as if one image had it
    for number in np.flatnonzero(np.bincount(frequency)[2:]) + 2:
        # one by one: vectorised logarithms may differ in the last bit, and log(n) - log(n) must be 0 exactly
        logs[number] = np.log(float(number))
    return np.log(float(images.sum())) - logs[frequency]


def _norms(sentence: np.ndarray, values: np.ndarray, num_sentences: int) -> np.ndarray:
    """(num_sentences,) Euclidean length of each sentence's vector."""
    return np.sqrt(np.bincount(sentence, values**2, minlength=num_sentences))
