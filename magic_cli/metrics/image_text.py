"""Features of images and texts by one image-text model, shared by all metrics that ask for them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from magic_cli.data.images import StoredImage, UnreadableImage, open_image
from magic_cli.errors import MagicError
from magic_cli.metrics.base import Metric, MetricUnavailable
from magic_cli.metrics.java.process import num_kills
from magic_cli.terminal.progress import progress

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

_TEXTS_AT_ONCE = 128  # a second or two on a CPU: nothing stops within a batch


class Encoder(Protocol):
    """An image-text model, as far as these metrics need it."""

    def encode_images(self, images: Sequence[Image]) -> Tensor:
        """(B, E) features of RGB images, not normalised."""

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """(N, E) features of texts, not normalised."""


class ImageTextFeatures:
    """Features of images and texts by one model; each is computed once. Safe to share between threads."""

    def __init__(self, load: Callable[[], Encoder], *, batch_size: int = 32, name: str = "") -> None:
        """The model is loaded when features are first asked for.

        Args:
            load: Gives the model.
            batch_size: Images encoded at once.
            name: What measures whose name holds the model's call it.
        """
        self.name = name
        self._load, self._batch_size = load, batch_size
        self._model: Encoder | None = None
        self._failure: MagicError | None = None
        self._images: dict[Path | StoredImage, np.ndarray] = {}
        self._texts: dict[str, np.ndarray] = {}
        self._lock = threading.Lock()

    def of_images(self, files: Sequence[Path | StoredImage], *, kills: int) -> np.ndarray:
        """(N, E) float32, not normalised.

        Args:
            files: Image files.
            kills: ``num_kills()`` when the work began.

        Raises:
            MagicError: The model cannot be had, an image cannot be read, the model gives no numbers for it, or
                ``kill_all`` was called since the work began.
        """
        with self._lock:
            return remember(self._images, files, self._encode_images, self._batch_size, unit="image", kills=kills)

    def of_texts(self, texts: Sequence[str], *, kills: int) -> np.ndarray:
        """As ``of_images``, of texts."""
        with self._lock:
            return remember(self._texts, texts, self._encode_texts, _TEXTS_AT_ONCE, unit="text", kills=kills)

    def _encode_images(self, files: Sequence[Path | StoredImage]) -> Tensor:
        model = self._encoder()
        return model.encode_images(open_all(files))

    def _encode_texts(self, texts: Sequence[str]) -> Tensor:
        return self._encoder().encode_texts(texts)

    def _encoder(self) -> Encoder:
        if self._failure is not None:
            raise self._failure  # another try would take as long, and fail again
        if self._model is None:
            try:
                self._model = self._load()
            except MagicError as failure:
                self._failure = failure
                raise
        return self._model


class FeatureMetric(Metric):
    """Base of the metrics that need such features; they score only after ``connect``."""

    _features: ImageTextFeatures | None = None

    def connect(self, features: ImageTextFeatures) -> None:
        """Use these features; metrics may share them."""
        self._features = features

    def features(self) -> ImageTextFeatures:
        """The features.

        Raises:
            MetricUnavailable: There is no model.
        """
        if self._features is None:
            raise MetricUnavailable(f"{self.name} needs an image-text model; choose one with image_text_model=...")
        return self._features


def remember(
    known: dict[Any, np.ndarray],
    things: Sequence[Any],
    encode: Callable[[list[Any]], Tensor],
    batch_size: int,
    *,
    unit: str,
    kills: int,
) -> np.ndarray:
    """(N, E) features of things, encoding the new ones in batches until ``num_kills()`` is no longer ``kills``."""
    new = [thing for thing in dict.fromkeys(things) if thing not in known]
    with progress(len(new), f"{unit}s", unit, leave=False) as bar:
        for start in range(0, len(new), batch_size):
            if num_kills() != kills:
                raise MagicError("evaluation: stopped")
            batch = new[start : start + batch_size]
            features = encode(batch).float().cpu().numpy()
            for thing, row in zip(batch, features, strict=True):
                if not np.isfinite(row).all() or not row.any():
                    raise MagicError(f"the model gives no usable features for {thing}; try run.dtype=float32")
                known[thing] = row
            bar.update(len(batch))
    return np.stack([known[thing] for thing in things])


def open_all(files: Sequence[Path | StoredImage]) -> list[Image]:
    """The images of files, read side by side.

    Raises:
        MagicError: One cannot be read.
    """
    with ThreadPoolExecutor() as readers:
        return list(readers.map(_open, files))


def _open(file: Path | StoredImage) -> Image:
    try:
        return open_image(file)
    except UnreadableImage as reason:
        remedy = "replace the file, or leave its caption out"
        raise MagicError(f"cannot read the image {file}: {reason}; {remedy}") from reason


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N,) cosines of rows, in float64: (N, E), (N, E) -> (N,)."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    return (a * b).sum(axis=1) / np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
