"""CLIP-I and CLIP-T: how near drawn images are to the true ones, and to their words.

Raw cosines, not stretched and not clipped as CLIPScore is: compare neither with it. The paper of MiniGPT-5 takes OpenAI's ViT-L/14
(VIST, CC3M) and ViT-B/32 (MMDialog); metrics.json names the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from magic_cli.metrics.answers import AnswerMetric, by_item, image_pairs, mean_of_steps
from magic_cli.metrics.base import Corpus, Measure, Scores
from magic_cli.metrics.image_text import FeatureMetric, cosines
from magic_cli.metrics.java.process import num_kills


class ClipSimilarity(AnswerMetric, FeatureMetric):
    """Base of both: the mean cosine of each drawn image and something true, over all steps that have both."""

    compared: ClassVar[str]
    """What is compared, for messages."""

    def score(self, corpora: Sequence[Corpus]) -> list[list[Scores]]:
        kills, features = num_kills(), self.features()
        self.require(corpora)
        results = []
        for corpus in corpora:
            pairs = self.pairs(corpus)
            if not pairs:
                raise self.nothing(corpus, self.compared)
            rows, drawn, true = zip(*pairs, strict=True)
            values = cosines(features.of_images(drawn, kills=kills), self.true_features(true, kills=kills))
            results.append([mean_of_steps(self.measures[0], by_item(len(corpus), rows, values))])
        return results

    def pairs(self, corpus: Corpus) -> list[tuple[int, Path, Any]]:
        """For each step that has both: the row of its item, the drawn image, and what is true."""
        raise NotImplementedError(f"{type(self).__name__}.pairs")

    def true_features(self, true: Sequence[Any], *, kills: int) -> np.ndarray:
        """(N, E) features of what is true; ``kills`` as in ``ImageTextFeatures.of_images``."""
        raise NotImplementedError(f"{type(self).__name__}.true_features")


@dataclass
class ClipI(ClipSimilarity):
    """CLIP-I: mean cosine of drawn and true image, over all steps that have both."""

    name: ClassVar[str] = "clip_i"
    measures: ClassVar[tuple[Measure, ...]] = (Measure("clip_i", "CLIP-I", -1.0, 1.0, scale=1.0, digits=3),)
    compared: ClassVar[str] = "drawn images with true ones"

    def pairs(self, corpus: Corpus) -> list[tuple[int, Path, Any]]:
        return list(image_pairs(corpus))

    def true_features(self, true: Sequence[Any], *, kills: int) -> np.ndarray:
        return self.features().of_images(true, kills=kills)

    def facts(self) -> dict[str, Any]:
        return {"similarity": "cosine", "steps": "those with a drawn and a true image"}


@dataclass
class ClipT(ClipSimilarity):
    """CLIP-T: mean cosine of drawn image and the words for the true one, over all steps that have both.

    The words are the step's caption, else its true text. (The released code takes the string of vokens on VIST, which says nothing.)
    """

    name: ClassVar[str] = "clip_t"
    measures: ClassVar[tuple[Measure, ...]] = (Measure("clip_t", "CLIP-T", -1.0, 1.0, scale=1.0, digits=3),)
    compared: ClassVar[str] = "drawn images with the words for true ones"

    def pairs(self, corpus: Corpus) -> list[tuple[int, Path, Any]]:
        return [
            (row, answer.image, answer.description)
            for row, answers in enumerate(corpus.answers)
            for answer in answers
            if answer.image and answer.description
        ]

    def true_features(self, true: Sequence[Any], *, kills: int) -> np.ndarray:
        return self.features().of_texts(true, kills=kills)

    def facts(self) -> dict[str, Any]:
        return {"similarity": "cosine", "words": "the step's caption, else its true text"}
