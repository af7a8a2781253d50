"""Image classifiers whose features and probabilities metrics compare: what they do, and how a metric gets one."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from magic_cli.data.images import StoredImage
from magic_cli.data.paths import expanded
from magic_cli.errors import SettingsError
from magic_cli.metrics.base import Corpus, Metric, MetricUnavailable, available
from magic_cli.metrics.image_text import open_all, remember
from magic_cli.metrics.java.process import num_kills

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor


class WeightsFile(Enum):
    """Which network a file of weights is for."""

    inception_2015 = "the Inception network of 2015 (pt_inception-2015-12-05-6726825d.pth, from the releases of pytorch-fid)"
    torchvision = "torchvision's Inception v3 (inception_v3_google-0cc3c7bd.pth, from download.pytorch.org/models)"


class ImageNetwork(Protocol):
    """An image classifier."""

    def features(self, images: Sequence[Image]) -> Tensor:
        """(N, E) features of RGB images: the input of its last layer."""

    def logits(self, images: Sequence[Image]) -> Tensor:
        """(N, C) scores of its classes."""


class NetworkFeatures:
    """Features and class scores of image files by one network; each is computed once."""

    def __init__(self, load: Callable[[], tuple[ImageNetwork, dict[str, Any]]], *, batch_size: int = 16) -> None:
        """The network is loaded when an image is first looked at.

        Args:
            load: Gives the network, and what metrics.json says of it.
            batch_size: Images at once.
        """
        self._load, self._batch_size = load, batch_size
        self._loaded: tuple[ImageNetwork, dict[str, Any]] | None = None
        self._features: dict[Path | StoredImage, np.ndarray] = {}
        self._logits: dict[Path | StoredImage, np.ndarray] = {}

    def features(self, files: Sequence[Path | StoredImage]) -> np.ndarray:
        """(N, E) float32.

        Raises:
            MetricUnavailable: The network cannot be had.
            MagicError: An image cannot be read, or everything must stop.
        """
        return self._of(files, self._features, lambda images: self._network().features(images))

    def logits(self, files: Sequence[Path | StoredImage]) -> np.ndarray:
        """(N, C) float32. Raises as ``features``."""
        return self._of(files, self._logits, lambda images: self._network().logits(images))

    def facts(self) -> dict[str, Any]:
        """What metrics.json says of the network; empty until it is loaded."""
        return self._loaded[1] if self._loaded is not None else {}

    def _of(
        self,
        files: Sequence[Path | StoredImage],
        known: dict[Path | StoredImage, np.ndarray],
        encode: Callable[[Sequence[Image]], Tensor],
    ) -> np.ndarray:
        return remember(known, files, lambda batch: encode(open_all(batch)), self._batch_size, unit="image", kills=num_kills())

    def _network(self) -> ImageNetwork:
        if self._loaded is None:
            self._loaded = available(self._load)
        return self._loaded[0]


class ImageNetworkMetric(Metric):
    """Base of the metrics that need such a network; they score only after ``connect``."""

    kind: ClassVar[WeightsFile] = WeightsFile.inception_2015
    weights: str | None
    _network: NetworkFeatures | None = None

    def __post_init__(self) -> None:
        if self.weights and not os.path.isfile(expanded(self.weights)):
            raise SettingsError(
                f"metrics.{self.name}.weights={self.weights}: no such file (looked at {expanded(self.weights).absolute()})"
            )

    def connect(self, network: NetworkFeatures) -> None:
        """Use this network; metrics may share it."""
        self._network = network

    def require(self, corpora: Sequence[Corpus]) -> None:
        super().require(corpora)
        if not self.weights:
            raise MetricUnavailable(f"{self.name} needs the weights of {self.kind.value}: metrics.{self.name}.weights=FILE")

    def network(self) -> NetworkFeatures:
        """The network.

        Raises:
            MetricUnavailable: There is none.
        """
        if self._network is None:
            raise MetricUnavailable(f"{self.name} needs an image classifier; run it through `magic evaluate`")
        return self._network

    def network_facts(self) -> dict[str, Any]:
        """What metrics.json says of the network."""
        return self._network.facts() if self._network is not None else {}
