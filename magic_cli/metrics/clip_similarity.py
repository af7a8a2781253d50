"""CLIP-I and CLIP-T: how near drawn images are to the true ones, and to their words.

Raw cosines, not stretched and not clipped as CLIPScore is: compare neither with it. The paper of MiniGPT-5 takes OpenAI's ViT-L/14
(VIST, CC3M) and ViT-B/32 (MMDialog); metrics.json names the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from magic_cli.metrics.answers import AnswerMetric, by_item, image_pairs, mean_of_steps
from magic_cli.metrics.base import Corpus, Measure, Scores
from magic_cli.metrics.image_text import FeatureMetric, cosines
from magic_cli.metrics.java.process import num_kills


@dataclass
class ClipI(AnswerMetric, FeatureMetric):
    """CLIP-I: mean cosine of drawn and true image, over all steps that have both."""

    name: ClassVar[str] = "clip_i"
    measures: ClassVar[tuple[Measure, ...]] = (Measure("clip_i", "CLIP-I", -1.0, 1.0, scale=1.0, digits=3),)

    def score(self, corpora: Sequence[Corpus]) -> list[list[Scores]]:
        kills, features = num_kills(), self.features()
        self.require(corpora)
        results = []
        for corpus in corpora:
            pairs = image_pairs(corpus)
            if not pairs:
                raise self.nothing(corpus, "drawn images with true ones")
            rows, drawn, true = zip(*pairs, strict=True)
            values = cosines(features.of_images(drawn, kills=kills), features.of_images(true, kills=kills))
            results.append([mean_of_steps(self.measures[0], by_item(len(corpus), rows, values))])
        return results

    def facts(self) -> dict[str, Any]:
        return {"similarity": "cosine", "steps": "those with a drawn and a true image"}


@dataclass
class ClipT(AnswerMetric, FeatureMetric):
    """CLIP-T: mean cosine of drawn image and the words for the true one, over all steps that have both.

    The words are the step's caption, else its true text. (The released code takes the string of vokens on VIST, which says nothing.)
    """

    name: ClassVar[str] = "clip_t"
    measures: ClassVar[tuple[Measure, ...]] = (Measure("clip_t", "CLIP-T", -1.0, 1.0, scale=1.0, digits=3),)

    def score(self, corpora: Sequence[Corpus]) -> list[list[Scores]]:
        kills, features = num_kills(), self.features()
        self.require(corpora)
        results = []
        for corpus in corpora:
            pairs = [
                (row, answer.image, answer.description)
                for row, answers in enumerate(corpus.answers)
                for answer in answers
                if answer.image and answer.description
            ]
            if not pairs:
                raise self.nothing(corpus, "drawn images with the words for true ones")
            rows, drawn, words = zip(*pairs, strict=True)
            values = cosines(features.of_images(drawn, kills=kills), features.of_texts(words, kills=kills))
            results.append([mean_of_steps(self.measures[0], by_item(len(corpus), rows, values))])
        return results

    def facts(self) -> dict[str, Any]:
        return {"similarity": "cosine", "words": "the step's caption, else its true text"}
