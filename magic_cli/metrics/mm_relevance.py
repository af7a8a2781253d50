"""MM-Relevance (Feng et al. 2023, MMDialog): how near the texts and images of an answer are to those of the true one.

Two variants are published, and their values differ: ``mm_relevance_minigpt5`` as the released code of MiniGPT-5 has it, and
``mm_relevance_mmdialog`` as the owners of MMDialog define and show it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from magic_cli.data.answers import Answer
from magic_cli.data.images import StoredImage
from magic_cli.metrics.answers import AnswerMetric, clean_text, mean_of_items
from magic_cli.metrics.base import Corpus, Measure, Scores
from magic_cli.metrics.image_text import FeatureMetric
from magic_cli.metrics.java.process import num_kills

Element = str | Path | StoredImage
"""A text, or an image."""
Pair = tuple[Element | None, Element | None]
"""An element of an answer and the true one beside it; None: there is none."""


def f_score(similarity: float, written: int, true: int) -> float:
    """F1 of soft precision and recall.

    Args:
        similarity: Sum of the cosines of what was paired.
        written: Elements that were written or drawn.
        true: Elements of the truth.

    Returns:
        In [-1, 1]; 0 where nothing was paired.
    """
    if not written or not true or not similarity:
        return 0.0
    precision, recall = similarity / written, similarity / true
    return 2 * precision * recall / (precision + recall)


class MmRelevance(AnswerMetric, FeatureMetric):
    """Base of both variants."""

    def score(self, corpora: Sequence[Corpus]) -> list[list[Scores]]:
        kills, features = num_kills(), self.features()
        self.require(corpora)
        results = []
        for corpus in corpora:
            groups = [list(self.groups(answers)) for answers in corpus.answers]
            if not any(true is not None for item in groups for group in item for _, true in group):
                raise self.nothing(corpus, "texts and images with true ones")
            both = [pair for item in groups for group in item for pair in group if None not in pair]
            elements = list(dict.fromkeys(element for pair in both for element in pair if element is not None))
            texts = [element for element in elements if isinstance(element, str)]
            images = [element for element in elements if not isinstance(element, str)]
            rows = [
                *(features.of_texts(texts, kills=kills) if texts else ()),
                *(features.of_images(images, kills=kills) if images else ()),
            ]
            known: list[Element] = [*texts, *images]
            vectors = {element: _unit(row) for element, row in zip(known, rows, strict=True)}
            values = [[_value(group, vectors) for group in item] for item in groups]
            results.append([mean_of_items(self.measures[0], values)])
        return results

    def groups(self, answers: Sequence[Answer]) -> Iterator[list[Pair]]:
        """What of an item is scored together, paired; each group has an F1, and the item their mean."""
        raise NotImplementedError(f"{type(self).__name__}.groups")


@dataclass
class MmRelevanceMiniGpt5(MmRelevance):
    """One F1 for each dialogue: texts of all its steps beside true texts, images beside true images; the mean over dialogues.

    What only the truth has lowers recall, what only the answer has lowers precision.
    """

    name: ClassVar[str] = "mm_relevance_minigpt5"
    measures: ClassVar[tuple[Measure, ...]] = (Measure("mm_relevance_minigpt5", "MM-Rel. (MiniGPT-5)", -1.0, 1.0),)

    def groups(self, answers: Sequence[Answer]) -> Iterator[list[Pair]]:
        pairs: list[Pair] = [(clean_text(answer.text) or None, clean_text(answer.true_text) or None) for answer in answers]
        pairs += [(answer.image, answer.true_image) for answer in answers]
        yield [pair for pair in pairs if pair != (None, None)]

    def facts(self) -> dict[str, Any]:
        return {"variant": "MiniGPT-5's released code: text with text, image with image, one F1 a dialogue"}


@dataclass
class MmRelevanceMmDialog(MmRelevance):
    """One F1 for each response: its elements in their order beside the true ones in theirs, a text beside an image, too; the mean over
    the responses of a dialogue, then over dialogues.

    The owners multiply cosines by CLIP's ``logit_scale``, which is 100: so do tables.
    """

    name: ClassVar[str] = "mm_relevance_mmdialog"
    measures: ClassVar[tuple[Measure, ...]] = (Measure("mm_relevance_mmdialog", "MM-Rel. (MMDialog)", -1.0, 1.0),)

    def groups(self, answers: Sequence[Answer]) -> Iterator[list[Pair]]:
        for answer in answers:
            written, true = _elements(answer.text, answer.image), _elements(answer.true_text, answer.true_image)
            if true:
                longest = max(len(written), len(true))
                yield list(zip(*(side + [None] * (longest - len(side)) for side in (written, true)), strict=True))

    def facts(self) -> dict[str, Any]:
        return {"variant": "MMDialog's owners: element with element by position, one F1 a response", "logit_scale": 100}


def _elements(text: str | None, image: Path | StoredImage | None) -> list[Element | None]:
    return [element for element in (clean_text(text), image) if element]


def _value(group: Sequence[Pair], vectors: dict[Element, np.ndarray]) -> float:
    similarity = sum(
        float(vectors[written] @ vectors[true]) for written, true in group if written is not None and true is not None
    )
    return f_score(similarity, *(sum(pair[side] is not None for pair in group) for side in (0, 1)))


def _unit(row: np.ndarray) -> np.ndarray:
    row = row.astype(np.float64)
    return row / np.linalg.norm(row)
