"""CLIPScore and RefCLIPScore (Hessel et al. 2021), on any image-text model.

Both work on the captions as they are written. A command connects them to one ``ImageTextFeatures``, so that the model is
loaded once and every distinct image and text is encoded once, whatever is asked for.
"""

from __future__ import annotations

import threading
import unicodedata
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from magic_cli.data.images import UnreadableImage, open_image
from magic_cli.errors import MagicError, SettingsError
from magic_cli.metrics.base import Corpus, Measure, Metric, MetricUnavailable, Scores

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

PREFIX = "A photo depicts "
WEIGHT = 2.5
"""Stretches the cosines of captions, which rarely exceed 0.4, over about [0, 1]."""

_TEXTS_AT_ONCE = 512


class Encoder(Protocol):
    """An image-text model, as far as these metrics need it."""

    def encode_images(self, images: Sequence[Image]) -> Tensor:
        """(B, E) features of RGB images, not normalised."""

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """(N, E) features of texts, not normalised."""


class ImageTextFeatures:
    """Features of images and texts by one model; what was asked for once is remembered. Safe to share between threads."""

    def __init__(self, load: Callable[[], Encoder], *, batch_size: int = 32) -> None:
        """The model is loaded when features are first asked for.

        Args:
            load: Gives the model.
            batch_size: Images encoded at once.
        """
        self._load, self._model, self._batch_size = load, None, batch_size
        self._images: dict[Path, np.ndarray] = {}
        self._texts: dict[str, np.ndarray] = {}
        self._lock = threading.Lock()

    def of_images(self, files: Sequence[Path]) -> np.ndarray:
        """(N, E) float32, not normalised.

        Raises:
            MagicError: An image cannot be read, or the model gives no numbers for it.
        """
        with self._lock:
            return _remember(self._images, files, self._encode_images, self._batch_size, unit="image")

    def of_texts(self, texts: Sequence[str]) -> np.ndarray:
        """(N, E) float32, not normalised.

        Raises:
            MagicError: The model gives no numbers for a text.
        """
        with self._lock:
            return _remember(self._texts, texts, self._encode_texts, _TEXTS_AT_ONCE, unit="text")

    def _encode_images(self, files: Sequence[Path]) -> Tensor:
        with ThreadPoolExecutor() as readers:
            images = list(readers.map(_open, files))
        return self._encoder().encode_images(images)

    def _encode_texts(self, texts: Sequence[str]) -> Tensor:
        return self._encoder().encode_texts(texts)

    def _encoder(self) -> Encoder:
        if self._model is None:
            self._model = self._load()
        return self._model


class ImageTextMetric(Metric):
    """Base of the metrics that look at images; they score only after ``connect``."""

    prefix: str
    _features: ImageTextFeatures | None = None

    def __post_init__(self) -> None:
        if self.prefix.strip() and not self.prefix[-1].isspace():
            raise SettingsError(f"metrics.{self.name}.prefix must end with a space, got {self.prefix!r}")

    def connect(self, features: ImageTextFeatures) -> None:
        """Use these features; metrics may share them."""
        self._features = features

    def _connected(self) -> ImageTextFeatures:
        if self._features is None:
            raise MetricUnavailable(f"{self.name} needs an image-text model; choose one with image_text_model=...")
        return self._features

    def _clip_scores(self, corpus: Corpus, captions: np.ndarray) -> np.ndarray:
        """(N,) CLIPScore from the features (N, E) of the prefixed captions."""
        images = self._connected().of_images(self._image_files(corpus))
        return WEIGHT * np.maximum(0.0, _cosines(images, captions)) * _says_something(corpus.captions)

    def _caption_features(self, corpus: Corpus) -> np.ndarray:
        return self._connected().of_texts([self.prefix + caption for caption in corpus.captions])

    def _image_files(self, corpus: Corpus) -> list[Path]:
        unknown = [name for name, file in zip(corpus.ids, corpus.images or [None] * len(corpus), strict=True) if file is None]
        if unknown:
            raise MetricUnavailable(
                f"{self.name} needs the images: {corpus.name} names none for {len(unknown)} of {len(corpus)} captions "
                f"(first: {unknown[0]}); give their folder with images=FOLDER"
            )
        return list(corpus.images)

    def facts(self) -> dict[str, Any]:
        return {"source": "Hessel et al. 2021", "weight": WEIGHT, "prefix": self.prefix, "empty_captions": 0.0}


@dataclass
class ClipScore(ImageTextMetric):
    """CLIPScore: 2.5 * max(cos(image, prefix + caption), 0), of each pair, then averaged.

    A caption that is empty or nothing but punctuation scores 0: the prefix alone would match any photo a little.

    Attributes:
        prefix: Put before every caption, as in the paper; empty for none.
    """

    name: ClassVar[str] = "clip_score"
    measures: ClassVar[tuple[Measure, ...]] = (Measure("clip_score", "CLIPScore", 0.0, WEIGHT),)

    prefix: str = PREFIX

    def score(self, corpora: Sequence[Corpus]) -> list[list[Scores]]:
        for corpus in corpora:
            self._image_files(corpus)  # before any work is done
        results = []
        for corpus in corpora:
            per_item = self._clip_scores(corpus, self._caption_features(corpus))
            results.append([Scores(self.measures[0], float(per_item.mean()), per_item)])
        return results


@dataclass
class RefClipScore(ImageTextMetric):
    """RefCLIPScore: harmonic mean of CLIPScore and max(0, greatest cos(prefix + caption, prefix + reference)).

    Greatest possible value: the harmonic mean of 2.5 and 1. A caption that is empty or nothing but punctuation scores 0.

    Attributes:
        prefix: Put before every caption and, as in the authors' code, before every reference; empty for none.
    """

    name: ClassVar[str] = "ref_clip_score"
    measures: ClassVar[tuple[Measure, ...]] = (Measure("ref_clip_score", "RefCLIPScore", 0.0, 2 * WEIGHT / (WEIGHT + 1)),)

    prefix: str = PREFIX

    def score(self, corpora: Sequence[Corpus]) -> list[list[Scores]]:
        for corpus in corpora:
            self._image_files(corpus)  # before any work is done
        return [[self._score_corpus(corpus)] for corpus in corpora]

    def _score_corpus(self, corpus: Corpus) -> Scores:
        captions = self._caption_features(corpus)  # (N, E)
        references = self._connected().of_texts([self.prefix + text for texts in corpus.references for text in texts])
        sizes = np.array([len(texts) for texts in corpus.references])
        cosines = _cosines(references, np.repeat(captions, sizes, axis=0))
        closest = np.maximum(0.0, np.maximum.reduceat(cosines, np.cumsum(sizes) - sizes))
        matches = self._clip_scores(corpus, captions)
        per_item = np.divide(2 * matches * closest, matches + closest, out=np.zeros(len(corpus)), where=matches + closest > 0)
        return Scores(self.measures[0], float(per_item.mean()), per_item)


def _remember(
    known: dict[Any, np.ndarray], things: Sequence[Any], encode: Callable[[list[Any]], Tensor], batch_size: int, *, unit: str
) -> np.ndarray:
    """(N, E) features of things, encoding the new ones in batches."""
    from tqdm import tqdm

    new = [thing for thing in dict.fromkeys(things) if thing not in known]
    with tqdm(total=len(new), desc=f"{unit}s", unit=unit, disable=None, leave=False) as progress:
        for start in range(0, len(new), batch_size):
            batch = new[start : start + batch_size]
            features = encode(batch).float().cpu().numpy()
            for thing, row in zip(batch, features, strict=True):
                if not np.isfinite(row).all() or not row.any():
                    raise MagicError(f"the image-text model gives no usable features for {thing}; try run.dtype=float32")
                known[thing] = row
            progress.update(len(batch))
    return np.stack([known[thing] for thing in things])


def _open(file: Path) -> Image:
    try:
        return open_image(file)
    except UnreadableImage as reason:
        remedy = "replace the file, or leave its caption out"
        raise MagicError(f"CLIPScore cannot read the image {file}: {reason}; {remedy}") from reason


def _cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N,) cosines of rows, in float64: (N, E), (N, E) -> (N,)."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    return (a * b).sum(axis=1) / np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))


def _says_something(captions: Sequence[str]) -> np.ndarray:
    """(N,) whether a caption has anything but punctuation, white space and control characters."""
    return np.array([any(unicodedata.category(character)[0] not in "PZC" for character in caption) for caption in captions])
