"""Coherence of stories (Su et al. 2022): how near a story's meaning is to its title's.

``coherence`` is the paper's, with SimCSE. ``coherence_minilm`` is the same formula on another model, all-MiniLM-L6-v2, which
comes from PyPI and needs no model hub; its numbers are not comparable, so they have a name of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from magic_cli.metrics.base import Corpus, Measure, MetricUnavailable, Scores
from magic_cli.metrics.encoders import EncoderMetric, EncoderSource
from magic_cli.metrics.text import says_something


@dataclass
class SimCseModel(EncoderSource):
    """SimCSE, or another model of the hub whose pooled output is a sentence embedding."""

    name: str | None = "princeton-nlp/sup-simcse-bert-base-uncased"

    group: ClassVar[str] = "metrics.coherence.model"
    instead: ClassVar[str] = "measure coherence_minilm, another model's, which needs no hub"


class TitleCoherence(EncoderMetric):
    """Mean cosine between the embeddings of title and story; a story that says nothing scores 0."""

    needs_references: ClassVar[bool] = False

    def require(self, corpora: Sequence[Corpus]) -> None:
        for corpus in corpora:
            if not corpus.titles:
                raise MetricUnavailable(f"{self.name} compares stories with their titles, and {corpus.name} has none")

    def score(self, corpora: Sequence[Corpus]) -> list[list[Scores]]:
        self.require(corpora)
        encoder = self.encoder()
        texts = list(dict.fromkeys(text for corpus in corpora for text in (*corpus.titles, *corpus.captions)))
        rows = dict(zip(texts, _unit(encoder.encode(texts)), strict=True))
        results = []
        for corpus in corpora:
            pairs = zip(corpus.titles, corpus.captions, strict=True)
            per_item = np.array([rows[title] @ rows[story] if says_something(story) else 0.0 for title, story in pairs])
            results.append([Scores(self.measures[0], float(per_item.mean()), per_item)])
        return results

    def facts(self) -> dict[str, Any]:
        return {"source": "Su et al. 2022", "similarity": "cosine", "empty_stories": 0.0, "model": self.model_facts()}


def _unit(vectors: np.ndarray) -> np.ndarray:
    """(N, E) rows of length 1, float64."""
    vectors = vectors.astype(np.float64)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@dataclass
class Coherence(TitleCoherence):
    """Coherence by SimCSE, as in the paper.

    Attributes:
        model: The sentence encoder.
    """

    name: ClassVar[str] = "coherence"
    measures: ClassVar[tuple[Measure, ...]] = (Measure("coherence", "coherence", -1.0, 1.0, scale=1.0, digits=3),)

    model: SimCseModel = field(default_factory=SimCseModel)


@dataclass
class MiniLmCoherence(TitleCoherence):
    """Coherence by all-MiniLM-L6-v2, the embedded sentence encoder: for machines without model hub."""

    name: ClassVar[str] = "coherence_minilm"
    measures: ClassVar[tuple[Measure, ...]] = (Measure("coherence_minilm", "coherence (MiniLM)", -1.0, 1.0, scale=1.0, digits=3),)
