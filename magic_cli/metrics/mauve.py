"""MAUVE (Pillutla et al. 2021): how alike the distributions of written and of human stories are, by the package mauve-text.

Its k-means depends on a seed, so the score is the mean over several, and their standard deviation stands beside it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, ClassVar

import numpy as np

from magic_cli.errors import SettingsError, require
from magic_cli.metrics.base import Corpus, Measure, MetricUnavailable, Scores
from magic_cli.metrics.encoders import EncoderMetric, EncoderSource, TokenEncoder
from magic_cli.terminal.wording import counted

FEWEST_TEXTS, FEWEST_SEEDS = 10, 5


@dataclass
class FeaturizerModel(EncoderSource):
    """The language model whose hidden states are compared."""

    name: str | None = "gpt2"

    group: ClassVar[str] = "metrics.mauve.model"
    instead: ClassVar[str] = "leave mauve out of metrics.names"


@dataclass
class Mauve(EncoderMetric):
    """MAUVE of the stories against the human ones of the same titles, titles left out, with the paper's settings.

    Attributes:
        model: The featurizer.
        max_text_length: Tokens of a text that count, at least 1.
        cut_references: Cut each human story to as many tokens as the one that it is compared with.
        seeds: Of k-means; at least 5, each 0 to 2**31 - 1.
        num_buckets: Clusters, at least 2; null: a tenth of the number of stories.
        scaling_factor: The constant c of the divergence curve, 0.001 to 1000.
        kmeans_redo: Starts of k-means, of which the best counts, at least 1.
        kmeans_iterations: Most steps of a start, at least 1.
        explained_variance: Share of the variance that is kept before clustering, in (0, 1].
    """

    name: ClassVar[str] = "mauve"
    needs_references: ClassVar[bool] = False  # systems without them have no score, the others do
    measures: ClassVar[tuple[Measure, ...]] = (
        Measure("mauve", "MAUVE", 0.0, 1.0, scale=1.0, digits=3),
        Measure("mauve_deviation", "MAUVE s.d.", 0.0, 1.0, higher_is_better=False, scale=1.0, digits=3),
    )

    model: FeaturizerModel = field(default_factory=FeaturizerModel)
    max_text_length: int = 256
    cut_references: bool = True
    seeds: list[int] = field(default_factory=lambda: [25, 26, 27, 28, 29])
    num_buckets: int | None = None
    scaling_factor: float = 5.0
    kmeans_redo: int = 5
    kmeans_iterations: int = 500
    explained_variance: float = 0.9

    def __post_init__(self) -> None:
        if len(set(self.seeds)) < FEWEST_SEEDS or len(set(self.seeds)) < len(self.seeds):
            raise SettingsError(f"metrics.mauve.seeds must be at least {FEWEST_SEEDS} different numbers, got {self.seeds}")
        for setting in ("max_text_length", "kmeans_redo", "kmeans_iterations"):
            require(setting, getattr(self, setting), at_least=1, limit=1_000_000, prefix="metrics.mauve")
        for seed in self.seeds:
            require("seeds", seed, at_least=0, at_most=2**31 - 1, prefix="metrics.mauve")
        if self.num_buckets is not None:
            require("num_buckets", self.num_buckets, at_least=2, limit=1_000_000, prefix="metrics.mauve")
        require("scaling_factor", self.scaling_factor, above=0, floor=0.001, limit=1000, prefix="metrics.mauve")
        require("explained_variance", self.explained_variance, above=0, at_most=1, prefix="metrics.mauve")

    def require(self, corpora: Sequence[Corpus]) -> None:
        if importlib.util.find_spec("mauve") is None:
            raise MetricUnavailable(
                "mauve needs the package mauve-text, which is GPL-3 and does not come with magic; pip install mauve-text"
            )
        for corpus in corpora:
            _check_complete(corpus)
        compared = [corpus for corpus in corpora if all(corpus.references)]
        if not compared:
            raise MetricUnavailable(
                "mauve compares stories with those that people wrote, and none are given; use titles with stories"
            )
        for corpus in compared:
            self._check_size(corpus)

    def score(self, corpora: Sequence[Corpus]) -> list[list[Scores]]:
        self.require(corpora)
        encoder = self.encoder()
        results = []
        for corpus in corpora:
            values = self.of_features(*self._features(corpus, encoder)) if all(corpus.references) else [np.nan]
            overall = (float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else np.nan)
            no_value = np.full(len(corpus), np.nan)
            results.append([Scores(measure, value, no_value) for measure, value in zip(self.measures, overall, strict=True)])
        return results

    def _check_size(self, corpus: Corpus) -> None:
        if len(corpus) < FEWEST_TEXTS:
            raise MetricUnavailable(
                f"mauve compares distributions: {corpus.name} has {counted(len(corpus), 'story', 'stories')}, and {FEWEST_TEXTS} are the fewest"
            )
        if self.num_buckets is not None and self.num_buckets > 2 * len(corpus):
            raise MetricUnavailable(
                f"metrics.mauve.num_buckets={self.num_buckets}: more clusters than texts, {corpus.name} and people have {len(corpus)} stories each; "
                "lower it, or set it to null"
            )

    def _features(self, corpus: Corpus, encoder: TokenEncoder) -> tuple[np.ndarray, np.ndarray]:
        """(N, H) of the human stories and of the written ones."""
        written = encoder.token_ids(corpus.captions, self.max_text_length)
        human = encoder.token_ids([references[0] for references in corpus.references], self.max_text_length)
        if self.cut_references:
            human = [ids[: len(other)] for ids, other in zip(human, written, strict=True)]
        return encoder.encode_ids(human), encoder.encode_ids(written)

    def of_features(self, human: np.ndarray, written: np.ndarray) -> list[float]:
        """mauve-text's score for each seed: (N, H), (M, H) -> (S,)."""
        import mauve

        return [
            float(
                mauve.compute_mauve(
                    p_features=human,
                    q_features=written,
                    num_buckets="auto" if self.num_buckets is None else self.num_buckets,
                    kmeans_explained_var=self.explained_variance,
                    kmeans_num_redo=self.kmeans_redo,
                    kmeans_max_iter=self.kmeans_iterations,
                    mauve_scaling_factor=self.scaling_factor,
                    seed=seed,
                ).mauve
            )
            for seed in self.seeds
        ]

    def facts(self) -> dict[str, Any]:
        version = metadata.version("mauve-text") if importlib.util.find_spec("mauve") else None
        return {"tool": "mauve-text", "version": version, "texts": "continuations, without titles", "model": self.model_facts()}


def _check_complete(corpus: Corpus) -> None:
    """A system without human stories has no score; one with some of them would seem to have none."""
    without = [item for item, references in zip(corpus.ids, corpus.references, strict=True) if not references]
    if without and len(without) < len(corpus):
        raise MetricUnavailable(
            f"mauve compares every story with the one that a person wrote: {corpus.name} has none for {len(without)} of {counted(len(corpus), 'title')} "
            f"(first: {without[0]}); add them to the titles, or leave these titles out"
        )
