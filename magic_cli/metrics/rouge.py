"""ROUGE-L (Lin 2004), with the numerics of pycocoevalcap 1.2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from magic_cli.errors import require
from magic_cli.metrics.base import Corpus, Measure, Metric, Scores


@dataclass
class RougeL(Metric):
    """F-measure of the longest common subsequence; best precision and best recall over the references, each on its own.

    Attributes:
        beta: Weight of recall over precision, 0.001 to 1000.
    """

    name: ClassVar[str] = "rouge_l"
    measures: ClassVar[tuple[Measure, ...]] = (Measure("rouge_l", "ROUGE-L", 0.0, 1.0),)
    needs_tokens: ClassVar[bool] = True

    beta: float = 1.2

    def __post_init__(self) -> None:
        require("beta", self.beta, prefix="metrics.rouge_l", above=0, floor=1e-6, limit=1_000_000)

    def score(self, corpora: Sequence[Corpus]) -> list[list[Scores]]:
        tokens: dict[tuple[str, ...], list[list[str]]] = {}
        results = []
        for corpus in corpora:
            per_item = np.empty(len(corpus))
            for i, (caption, references) in enumerate(zip(corpus.tokens.captions, corpus.tokens.references, strict=True)):
                words = tokens.get(references) or [reference.split(" ") for reference in references]
                if len(corpora) > 1:
                    tokens[references] = words
                per_item[i] = self._score(caption.split(" "), words)
            results.append([Scores(self.measures[0], float(per_item.mean()), per_item)])
        return results

    def _score(self, caption: list[str], references: list[list[str]]) -> float:
        common = common_subsequences(caption, references)
        precision = max(common) / len(caption)
        recall = max(length / len(reference) for length, reference in zip(common, references, strict=True))
        if precision == 0:  # then nothing is in common, and recall is 0 too
            return 0.0
        return (1 + self.beta**2) * precision * recall / (recall + self.beta**2 * precision)

    def facts(self) -> dict[str, Any]:
        return {"numerics": "pycocoevalcap 1.2", "beta": self.beta}


def common_subsequences(caption: list[str], references: Sequence[list[str]]) -> list[int]:
    """Length of the longest common subsequence of a caption and each reference.

    One row of the usual table is one integer with a bit for each token of the caption (Hyyro 2004, "Bit-parallel
    LCS-length computation revisited"), so one reference token costs three operations.

    >>> common_subsequences("a b c d".split(), ["b d a".split(), "e".split()])
    [2, 0]
    """
    bits: dict[str, int] = {}
    for i, token in enumerate(caption):
        bits[token] = bits.get(token, 0) | 1 << i
    everywhere = (1 << len(caption)) - 1
    lengths = []
    for reference in references:
        row = everywhere  # a zero bit: the subsequence grows at this token of the caption
        for token in reference:
            if token in bits:
                match = row & bits[token]
                row = (row + match) | (row - match)
        lengths.append(len(caption) - (row & everywhere).bit_count())
    return lengths
