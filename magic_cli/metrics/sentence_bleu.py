"""BLEU-1 and BLEU-2 of single answers, with the numerics of nltk 3.10's ``sentence_bleu``, averaged over dialogues.

``bleu_words`` counts words. ``bleu_characters`` counts characters, as the released code of MiniGPT-5 does by giving nltk whole texts:
two unrelated sentences share most of their letters, so its values are far higher, and comparable with nobody else's.
"""

from __future__ import annotations

import math
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from magic_cli.metrics.answers import AnswerTextMetric
from magic_cli.metrics.base import Measure

ORDERS = (1, 2)
_WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")


def words(text: str) -> list[str]:
    """The words and the signs of a text, each by itself; case stays, as in nltk.

    >>> words("Don't go, Sam :star:")
    ["Don't", 'go', ',', 'Sam', ':', 'star', ':']
    """
    return _WORD.findall(text)


def sentence_bleu(reference: Sequence[str], tokens: Sequence[str], order: int) -> float:
    """BLEU of one text against one reference, not smoothed (Papineni et al. 2002, equations 1 and 2).

    As in nltk, a text without a common token scores 0, and one without a common n-gram of a higher order next to nothing, which
    is 0 in any table.

    Args:
        reference: Tokens of the true text.
        tokens: Tokens of the text.
        order: Longest n-grams, which all weigh the same.

    Returns:
        In [0, 1].
    """
    logs = []
    for n in range(1, order + 1):
        found, known = (Counter(tuple(side[i : i + n]) for i in range(len(side) - n + 1)) for side in (tokens, reference))
        common = (found & known).total()
        if n == 1 and not common:
            return 0.0
        logs.append(math.log(common / max(1, found.total())) if common else math.log(sys.float_info.min))
    penalty = min(0.0, 1 - len(reference) / len(tokens))
    return math.exp(penalty + math.fsum(log / order for log in logs))


class SentenceBleu(AnswerTextMetric):
    """Base of both."""

    split: ClassVar[Callable[[str], Sequence[str]]]
    """From a text to what is counted."""

    def score_texts(self, pairs: Sequence[tuple[str, str]]) -> Sequence[Sequence[float]]:
        split = type(self).split
        return [[sentence_bleu(split(true), split(text), order) for order in ORDERS] for text, true in pairs]


@dataclass
class BleuWords(SentenceBleu):
    """BLEU-1 and BLEU-2 by words."""

    name: ClassVar[str] = "bleu_words"
    measures: ClassVar[tuple[Measure, ...]] = tuple(Measure(f"bleu_words_{n}", f"BLEU-{n} (words)", 0.0, 1.0) for n in ORDERS)
    split: ClassVar[Callable[[str], Sequence[str]]] = staticmethod(words)

    def facts(self) -> dict[str, Any]:
        return {"numerics": "nltk 3.10 sentence_bleu, not smoothed", "tokens": "words and signs", "empty_texts": 0.0}


@dataclass
class BleuCharacters(SentenceBleu):
    """BLEU-1 and BLEU-2 by characters, as released."""

    name: ClassVar[str] = "bleu_characters"
    measures: ClassVar[tuple[Measure, ...]] = tuple(
        Measure(f"bleu_characters_{n}", f"BLEU-{n} (characters)", 0.0, 1.0) for n in ORDERS
    )
    split: ClassVar[Callable[[str], Sequence[str]]] = staticmethod(str)

    def facts(self) -> dict[str, Any]:
        return {
            "numerics": "nltk 3.10 sentence_bleu, not smoothed",
            "tokens": "characters, as the released code of MiniGPT-5",
            "empty_texts": 0.0,
        }
