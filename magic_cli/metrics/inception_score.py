"""Inception Score (Salimans et al. 2016): how sure a classifier is of each drawn image, and how much its classes vary.

``inception_score`` uses the Inception network of 2015, whose weights are a file that the user names; another network's values
have a name that says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from magic_cli.errors import MOST_SEED, require
from magic_cli.metrics.answers import AnswerMetric
from magic_cli.metrics.base import Corpus, Measure, MetricUnavailable, Scores
from magic_cli.metrics.image_networks import ImageNetworkMetric, WeightsFile


def inception_score(logits: np.ndarray, order: np.ndarray, splits: int) -> float:
    """exp of the mean KL divergence of p(y|x) from p(y), of each split of the images; the mean over splits.

    Args:
        logits: (N, C).
        order: (N,) in which order images are parted.
        splits: Parts, as equal as torch.chunk makes them.

    Returns:
        At least 1, at most C.
    """
    logits = logits.astype(np.float64)[order]
    logs = logits - logits.max(axis=1, keepdims=True)
    logs -= np.log(np.exp(logs).sum(axis=1, keepdims=True))
    size = -(-len(logs) // splits)
    values = []
    for start in range(0, len(logs), size):
        part = logs[start : start + size]
        mean = np.log(np.exp(part).mean(axis=0))
        values.append(np.exp((np.exp(part) * (part - mean)).sum(axis=1).mean()))
    return float(np.mean(values))


@dataclass
class InceptionScore(AnswerMetric, ImageNetworkMetric):
    """Inception Score of all drawn images. It has no interval: it is no sum over images.

    Attributes:
        weights: As of ``fid``.
        splits: Parts over which it is averaged, at least 1; torchmetrics and the papers take 10.
        seed: Of the order in which images are parted, 0 to 2**63 - 1.
    """

    name: ClassVar[str] = "inception_score"
    measures: ClassVar[tuple[Measure, ...]] = (Measure("inception_score", "IS", 1.0, 1008.0, scale=1.0),)

    weights: str | None = None
    splits: int = 10
    seed: int = 42

    def __post_init__(self) -> None:
        super().__post_init__()
        require("splits", self.splits, at_least=1, limit=1_000_000, prefix=f"metrics.{self.name}")
        require("seed", self.seed, at_least=0, at_most=MOST_SEED, prefix=f"metrics.{self.name}")

    def score(self, corpora: Sequence[Corpus]) -> list[list[Scores]]:
        import torch

        self.require(corpora)
        results = []
        for corpus in corpora:
            files = [answer.image for answers in corpus.answers for answer in answers if answer.image]
            if not files:
                raise MetricUnavailable(f"{self.name} looks at drawn images, and {corpus.name} has none")
            order = torch.randperm(len(files), generator=torch.Generator().manual_seed(self.seed)).numpy()
            value = inception_score(self.network().logits(files), order, self.splits)
            results.append([Scores(self.measures[0], value, np.full(len(corpus), np.nan))])
        return results

    def facts(self) -> dict[str, Any]:
        return {"source": "Salimans et al. 2016", "splits": self.splits, "seed": self.seed, **self.network_facts()}


@dataclass
class InceptionScoreTorchvision(InceptionScore):
    """The same by torchvision's Inception v3, another network with other numbers.

    Attributes:
        weights: As of ``fid_torchvision_inception_v3``.
        splits, seed: As of ``inception_score``.
    """

    name: ClassVar[str] = "inception_score_torchvision_inception_v3"
    measures: ClassVar[tuple[Measure, ...]] = (
        Measure("inception_score_torchvision_inception_v3", "IS (torchvision Inception v3)", 1.0, 1000.0, scale=1.0),
    )
    kind: ClassVar[WeightsFile] = WeightsFile.torchvision
