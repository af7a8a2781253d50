"""ROUGE-L's F as the package ``rouge`` 1.0.1 computes it, which the released code of MiniGPT-5 takes.

It differs from Lin's ROUGE-L (2004), which is ``rouge_l`` here: texts are cut into sentences at full stops, and words are counted
once each, however often they stand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from magic_cli.metrics.answers import AnswerTextMetric
from magic_cli.metrics.base import Measure

_TINY = 1e-8


@dataclass
class RougeF(AnswerTextMetric):
    """ROUGE-L's F over the union of longest common subsequences of sentences, averaged over steps of items, then over items."""

    name: ClassVar[str] = "rouge_f"
    measures: ClassVar[tuple[Measure, ...]] = (Measure("rouge_f", "ROUGE-L (rouge)", 0.0, 1.0),)

    def score_texts(self, pairs: Sequence[tuple[str, str]]) -> Sequence[Sequence[float]]:
        return [[rouge_f(text, true)] for text, true in pairs]

    def facts(self) -> dict[str, Any]:
        return {"numerics": "rouge 1.0.1, rouge-l f", "empty_texts": 0.0}


def rouge_f(text: str, reference: str) -> float:
    """ROUGE-L's F of a text, in [0, 1).

    >>> round(rouge_f("a dog runs over the grass", "the dog runs on the grass"), 6)
    0.727273
    """
    written, true = _sentences(text), _sentences(reference)
    if not written or not true:  # nothing but full stops, at which the package ends with an error
        return 0.0
    common = {word for other in true for sentence in written for word in common_words(other, sentence)}
    precision, recall = (len(common) / len({word for sentence in side for word in sentence}) for side in (written, true))
    return 2 * precision * recall / (precision + recall + _TINY)


def common_words(reference: Sequence[str], sentence: Sequence[str]) -> list[str]:
    """The words of a longest common subsequence, last first; of several equally long ones the package's.

    >>> common_words("a b c d".split(), "d c b a".split())
    ['d']
    """
    table = [[0] * (len(sentence) + 1) for _ in range(len(reference) + 1)]
    for i, word in enumerate(reference, start=1):
        for j, other in enumerate(sentence, start=1):
            table[i][j] = table[i - 1][j - 1] + 1 if word == other else max(table[i - 1][j], table[i][j - 1])
    found, i, j = [], len(reference), len(sentence)
    while i and j:
        if reference[i - 1] == sentence[j - 1]:
            found.append(reference[i - 1])
            i, j = i - 1, j - 1
        elif table[i - 1][j] > table[i][j - 1]:
            i -= 1
        else:
            j -= 1
    return found


def _sentences(text: str) -> list[list[str]]:
    """Words of each sentence; one of nothing but spaces has the empty word, as in the package."""
    return [" ".join(sentence.split()).split(" ") for sentence in text.split(".") if sentence]
