"""The n-grams of several corpora as flat arrays, counted once for all of them: what BLEU and CIDEr are made of.

Letters: T tokens, E entries, N images of a corpus, U distinct tuples of references, R references in them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

import numpy as np

from magic_cli.metrics.base import Tokenized

MAX_ORDER = 4
"""BLEU and CIDEr look at n-grams of 1 to 4 tokens."""


@dataclass(frozen=True)
class Ngrams:
    """How often each distinct n-gram of one order stands in each sentence.

    One entry is one n-gram of one sentence; entries are sorted by sentence, then by n-gram.
    """

    sentence: np.ndarray
    """(E,) number of the sentence."""
    gram: np.ndarray
    """(E,) number of the n-gram, in ``[0, num_grams)``; the same in all sentences."""
    count: np.ndarray
    """(E,) at least 1."""
    num_grams: int

    def of(self, sentences: slice) -> Ngrams:
        """The entries of a run of sentences, which are numbered from 0 anew."""
        first, last = np.searchsorted(self.sentence, [sentences.start, sentences.stop])
        part = slice(first, last)
        return Ngrams(self.sentence[part] - sentences.start, self.gram[part], self.count[part], self.num_grams)


@dataclass(frozen=True)
class ReferenceIndex:
    """Where an n-gram of one order stands in the references of an image."""

    entries: Ngrams
    """Those of the R references, sorted by tuple of references, then by n-gram, then by reference."""
    group: np.ndarray
    """(G,) sorted: tuple of references * num_grams + n-gram, for each n-gram that the tuple has."""
    first: np.ndarray
    """(G + 1,) entries ``first[g]:first[g + 1]`` belong to group g."""

    @property
    def gram(self) -> np.ndarray:
        """(G,) n-gram of each group."""
        return self.group % self.entries.num_grams

    @property
    def place(self) -> np.ndarray:
        """(G,) tuple of references of each group."""
        return self.group // self.entries.num_grams

    def find(self, place: np.ndarray, gram: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Look up n-grams of captions in the references of their images.

        Returns:
            Indices of the queries that are found, and the group of each of those.
        """
        wanted = place * self.entries.num_grams + gram
        group = np.searchsorted(self.group, wanted)
        found = np.flatnonzero(group < len(self.group))
        found = found[self.group[group[found]] == wanted[found]]
        return found, group[found]


@dataclass(frozen=True)
class CorpusNgrams:
    """The captions of one corpus."""

    place: np.ndarray
    """(N,) which tuple of references each image has."""
    lengths: np.ndarray
    """(N,) tokens of each caption."""
    captions: tuple[Ngrams, ...]
    """For orders 1 to 4; sentence i is the caption of image i."""


class NgramTables:
    """Everything that several corpora have in n-grams; equal tuples of references are counted once.

    Attributes:
        sizes: (U,) references in each tuple.
        first: (U,) number of the first reference of each tuple; those of one tuple follow one another.
        lengths: (R,) tokens of each reference.
        references: One index for each of the orders 1 to 4.
        corpora: In the order given.
    """

    def __init__(self, corpora: Sequence[Tokenized]) -> None:
        places: dict[tuple[str, ...], int] = {}
        place = [[places.setdefault(references, len(places)) for references in corpus.references] for corpus in corpora]
        self.sizes = np.fromiter(map(len, places), np.int64, len(places))
        self.first = np.cumsum(self.sizes) - self.sizes
        num_references = int(self.sizes.sum())
        sentences = list(chain(*places, *(corpus.captions for corpus in corpora)))
        lengths, orders = count_ngrams(sentences)

        self.lengths = lengths[:num_references]
        place_of = np.repeat(np.arange(len(places)), self.sizes)
        self.references = [_index(ngrams.of(slice(0, num_references)), place_of) for ngrams in orders]
        self.corpora, start = [], num_references
        for rows in place:
            part = slice(start, start + len(rows))
            captions = tuple(ngrams.of(part) for ngrams in orders)
            self.corpora.append(CorpusNgrams(np.array(rows, dtype=np.int64), lengths[part], captions))
            start = part.stop

    def pairs(self, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """All pairs of a caption and one of its references, caption by caption.

        Args:
            place: (N,) which tuple of references each caption has.

        Returns:
            (P,) caption and (P,) reference of each pair.
        """
        return np.repeat(np.arange(len(place)), self.sizes[place]), ranges(self.first[place], self.sizes[place])


@lru_cache(maxsize=1)
def tables_of(*corpora: Tokenized) -> NgramTables:
    """The tables of these corpora. The last ones are kept, because BLEU and CIDEr of one call ask for the same."""
    return NgramTables(corpora)


def ranges(first: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The numbers ``first[i], first[i] + 1, ...`` (``sizes[i]`` of them), one range after the other.

    >>> ranges(np.array([5, 1]), np.array([2, 3])).tolist()
    [5, 6, 1, 2, 3]
    """
    ends = np.cumsum(sizes)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(first - (ends - sizes), sizes)


def count_ngrams(sentences: Sequence[str]) -> tuple[np.ndarray, list[Ngrams]]:
    """Count the n-grams of orders 1 to 4 of many sentences; tokens stand between white space of any kind.

    Returns:
        (S,) tokens of each sentence, and one ``Ngrams`` for each order.
    """
    words = [sentence.split() for sentence in sentences]
    lengths = np.fromiter(map(len, words), np.int64, len(words))
    vocabulary: defaultdict[str, int] = defaultdict()
    vocabulary.default_factory = vocabulary.__len__
    token = np.fromiter(map(vocabulary.__getitem__, chain.from_iterable(words)), np.int64, int(lengths.sum()))  # (T,)
    sentence = np.repeat(np.arange(len(words)), lengths)
    left = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(token))  # tokens from here to the sentence's end

    orders, start, gram = [], np.arange(len(token)), token
    for order in range(1, MAX_ORDER + 1):
        if order > 1:  # an n-gram is the one before it and one more token; numbered anew, so that keys stay small
            fits = left[start] >= order
            start, gram = start[fits], gram[fits]
            distinct, gram = np.unique(gram * len(vocabulary) + token[start + order - 1], return_inverse=True)
            num_grams = len(distinct)
        else:
            num_grams = len(vocabulary)
        entry, count = np.unique(sentence[start] * num_grams + gram, return_counts=True)
        orders.append(Ngrams(entry // max(1, num_grams), entry % max(1, num_grams), count, num_grams))
    return lengths, orders


def _index(entries: Ngrams, place_of: np.ndarray) -> ReferenceIndex:
    key = place_of[entries.sentence] * entries.num_grams + entries.gram
    order = np.argsort(key, kind="stable")
    entries = Ngrams(entries.sentence[order], entries.gram[order], entries.count[order], entries.num_grams)
    key = key[order]
    first = np.flatnonzero(np.diff(key, prepend=-1))
    return ReferenceIndex(entries, key[first], np.append(first, len(key)))
