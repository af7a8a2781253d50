"""FID (Heusel et al. 2017): how far the features of drawn images are from those of true ones, as two normal distributions.

FID rises if there are fewer images. A resample repeats some images, so it has fewer different ones: the bootstrap interval lies
somewhat above the value. Differences of two systems on the same items suffer little from that.

``fid`` uses the Inception network of 2015, as papers do, whose weights are a file that the user names. The same formula on
another network's features gives other numbers, so each measure is named after its network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from magic_cli.data.images import StoredImage
from magic_cli.metrics.answers import AnswerMetric, image_pairs, mean_of_items
from magic_cli.metrics.base import Corpus, Measure, MetricUnavailable, Scores
from magic_cli.metrics.image_networks import ImageNetworkMetric, WeightsFile
from magic_cli.metrics.image_text import FeatureMetric
from magic_cli.metrics.java.process import num_kills

MOST_DIMENSIONS = 1024
"""Longer features get no interval: each resample would take seconds."""
MOST_CELLS = 50_000_000
"""Of the table that says which system's items a resample holds."""
_INFINITE = float("inf")
_FACTS = {"source": "Heusel et al. 2017", "covariance": "unbiased", "pairs": "steps with a drawn and a true image"}
"""What metrics.json says of all distances."""

Features = Callable[[Sequence[Path | StoredImage]], np.ndarray]
"""From image files to (N, E) features."""


def frechet_distance(
    true: np.ndarray, drawn: np.ndarray, true_weights: np.ndarray | None = None, drawn_weights: np.ndarray | None = None
) -> float:
    r"""Squared Frechet distance of two normal distributions: |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)).

    With C1 = A'A and C2 = B'B the last trace is the sum of the singular values of AB', which is exact where images are few and the
    covariances have no full rank.

    Args:
        true: (N, E) features.
        drawn: (M, E) features.
        true_weights: (N,) how often each counts; None: once.
        drawn_weights: (M,) the same.

    Returns:
        At least 0.

    Raises:
        ValueError: Fewer than two images of a kind.
    """
    (mean_1, root_1), (mean_2, root_2) = _normal(true, true_weights), _normal(drawn, drawn_weights)
    common = np.linalg.svd(root_1 @ root_2.T, compute_uv=False).sum()
    return max(0.0, float(((mean_1 - mean_2) ** 2).sum() + (root_1**2).sum() + (root_2**2).sum() - 2 * common))


def _normal(features: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Mean (E,), and a matrix A (at most E rows) with A'A the unbiased covariance."""
    features = features.astype(np.float64)
    weights = np.ones(len(features)) if weights is None else weights
    total = weights.sum()
    if total < 2:
        raise ValueError(f"two images are the fewest, got {total:g}")
    mean = weights @ features / total
    root = np.sqrt(weights / (total - 1))[:, None] * (features - mean)
    return mean, np.asarray(np.linalg.qr(root, mode="r")) if len(root) > root.shape[1] else root


class Frechet(AnswerMetric):
    """Base of all variants: the measure, and the features of files."""

    stories: ClassVar[bool] = False
    """Whether each item's images are compared by themselves."""

    def score(self, corpora: Sequence[Corpus]) -> list[list[Scores]]:
        self.require(corpora)
        of_files = self.image_features()
        score = self._of_stories if self.stories else self._of_all
        return [[one] for one in score(corpora, of_files)]

    def image_features(self) -> Features:
        """From image files to features."""
        raise NotImplementedError(f"{type(self).__name__}.image_features")

    def measure(self) -> Measure:
        """The measure; known once features have been asked for."""
        return self.measures[0]

    def _of_all(self, corpora: Sequence[Corpus], of_files: Features) -> list[Scores]:
        """One distance a corpus. Its items are resampled, and changed between systems, with all their images."""
        found = []
        for corpus in corpora:
            pairs = image_pairs(corpus)
            if len(pairs) < 2:
                raise MetricUnavailable(
                    f"{self.name} compares distributions of images: {corpus.name} has {len(pairs)} drawn ones with true ones, and 2 are the fewest"
                )
            rows, drawn, true = zip(*pairs, strict=True)
            found.append((np.array(rows), of_files(true), of_files(drawn)))
        sizes = [len(corpus) for corpus in corpora]
        resamples = len(set(sizes)) == 1 and len(sizes) * sizes[0] ** 2 <= MOST_CELLS and found[0][1].shape[1] <= MOST_DIMENSIONS
        combine = _Weighted(found, sizes[0]) if resamples else None
        return [
            Scores(
                self.measure(),
                frechet_distance(true, drawn),
                np.full(sizes[number], np.nan),
                statistics=np.eye(sizes[number], len(sizes) * sizes[number], number * sizes[number]) if resamples else None,
                combine=combine,
            )
            for number, (_, true, drawn) in enumerate(found)
        ]

    def _of_stories(self, corpora: Sequence[Corpus], of_files: Features) -> list[Scores]:
        """The mean of the distances within each item that has two true images or more."""
        found = []
        for corpus in corpora:
            groups = [
                ([a.image for a in answers if a.image], [a.true_image for a in answers if a.true_image])
                for answers in corpus.answers
            ]
            for item, (drawn, true) in zip(corpus.ids, groups, strict=True):
                if len(drawn) != len(true):
                    raise MetricUnavailable(
                        f"{self.name} compares as many drawn as true images of each story: {item} of {corpus.name} has {len(drawn)} and {len(true)}"
                    )
            if all(len(true) < 2 for _, true in groups):
                raise MetricUnavailable(
                    f"{self.name} compares the images of a story, two or more of each kind: no story of {corpus.name} has them"
                )
            values = [[frechet_distance(of_files(true), of_files(drawn))] if len(true) > 1 else [] for drawn, true in groups]
            found.append(mean_of_items(self.measure(), values))
        return found


class _Weighted:
    """Distances of resampled corpora."""

    def __init__(self, found: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], num_items: int) -> None:
        """Nothing is computed yet.

        Args:
            found: For each corpus the items of its images, and features of true and of drawn ones.
            num_items: Of each corpus.
        """
        self._rows = np.concatenate([rows + number * num_items for number, (rows, _, _) in enumerate(found)])
        self._true = np.concatenate([true for _, true, _ in found])
        self._drawn = np.concatenate([drawn for _, _, drawn in found])

    def __call__(self, sums: np.ndarray) -> np.ndarray:
        """(R, corpora * items) how often each corpus's item counts -> (R,) distances; 0 where fewer than two images are left."""
        values = np.zeros(len(sums))
        for i, counts in enumerate(np.rint(sums)):
            weights = counts[self._rows]
            used = weights > 0
            if weights.sum() >= 2:
                values[i] = frechet_distance(self._true[used], self._drawn[used], weights[used], weights[used])
        return values


@dataclass
class Fid(Frechet, ImageNetworkMetric):
    """FID by the Inception network of 2015, of all drawn images and the true ones beside them.

    Attributes:
        weights: File of its weights, ``pt_inception-2015-12-05-6726825d.pth``; null: there is none.
    """

    name: ClassVar[str] = "fid"
    measures: ClassVar[tuple[Measure, ...]] = (Measure("fid", "FID", 0.0, _INFINITE, higher_is_better=False, scale=1.0),)

    weights: str | None = None

    def image_features(self) -> Features:
        return self.network().features

    def facts(self) -> dict[str, Any]:
        return {**_FACTS, **self.network_facts()}


@dataclass
class StoryFid(Fid):
    """Mean over stories of the FID of each one's images, as VIST's results of MiniGPT-5 have it: compare it only with itself.

    Attributes:
        weights: As of ``fid``.
    """

    name: ClassVar[str] = "story_fid"
    measures: ClassVar[tuple[Measure, ...]] = (
        Measure("story_fid", "story FID", 0.0, _INFINITE, higher_is_better=False, scale=1.0),
    )
    stories: ClassVar[bool] = True


@dataclass
class FidTorchvision(Fid):
    """The same by torchvision's Inception v3, another network with other numbers.

    Attributes:
        weights: File of its weights, ``inception_v3_google-0cc3c7bd.pth``; null: there is none.
    """

    name: ClassVar[str] = "fid_torchvision_inception_v3"
    measures: ClassVar[tuple[Measure, ...]] = (
        Measure(
            "fid_torchvision_inception_v3", "FID (torchvision Inception v3)", 0.0, _INFINITE, higher_is_better=False, scale=1.0
        ),
    )
    kind: ClassVar[WeightsFile] = WeightsFile.torchvision


@dataclass
class FidImageText(Frechet, FeatureMetric):
    """The same by the image features of the image-text model; the measure has the model's name: ``fid_clip_vit_base_patch32``."""

    name: ClassVar[str] = "fid_image_text"
    measures: ClassVar[tuple[Measure, ...]] = (
        Measure("fid_image_text", "FID (image-text model)", 0.0, _INFINITE, higher_is_better=False, scale=1.0),
    )

    def image_features(self) -> Features:
        kills, features = num_kills(), self.features()
        return lambda files: features.of_images(files, kills=kills)

    def measure(self) -> Measure:
        model = self.features().name
        [measure] = self.measures
        return (
            replace(
                measure,
                key=measure.key.replace("image_text", _word(model)),
                label=measure.label.replace("image-text model", model),
            )
            if model
            else measure
        )

    def facts(self) -> dict[str, Any]:
        return {**_FACTS, "features": "not normalised"}


@dataclass
class StoryFidImageText(FidImageText):
    """Mean over stories of the FID of each one's images, by the image-text model."""

    name: ClassVar[str] = "story_fid_image_text"
    measures: ClassVar[tuple[Measure, ...]] = (
        Measure("story_fid_image_text", "story FID (image-text model)", 0.0, _INFINITE, higher_is_better=False, scale=1.0),
    )
    stories: ClassVar[bool] = True


def _word(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name.lower()).strip("_")
