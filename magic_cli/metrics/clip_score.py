"""CLIPScore and RefCLIPScore (Hessel et al. 2021), on any image-text model.

Both work on the captions as they are written. A command connects them to one ``ImageTextFeatures``, so that the model is
loaded once and every distinct image and text is encoded once, whatever is asked for.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from magic_cli.data.images import UnreadableImage, open_image
from magic_cli.errors import MagicError, SettingsError
from magic_cli.files import sha256
from magic_cli.metrics.base import Corpus, Measure, Metric, MetricUnavailable, Scores
from magic_cli.metrics.java.process import num_kills
from magic_cli.metrics.text import says_something
from magic_cli.terminal.wording import counted
from magic_cli.terminal.progress import progress

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

PREFIX = "A photo depicts "
WEIGHT = 2.5
"""Stretches the cosines of captions, which rarely exceed 0.4, over about [0, 1]."""

_NAMES_SHOWN = 5  # of images that are missing
_TEXTS_AT_ONCE = 128  # a second or two on a CPU: nothing stops within a batch


class Encoder(Protocol):
    """An image-text model, as far as these metrics need it."""

    def encode_images(self, images: Sequence[Image]) -> Tensor:
        """(B, E) features of RGB images, not normalised."""

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """(N, E) features of texts, not normalised."""


class _Remembered:
    """Features of images, or of texts, each encoded once."""

    def __init__(self, unit: str, encode: Callable[[list[Any]], Tensor], batch_size: int) -> None:
        self._unit, self._encode, self._batch_size = unit, encode, batch_size
        self._known: dict[Any, np.ndarray] = {}

    def features(self, things: Sequence[Any], *, kills: int) -> np.ndarray:
        """(N, E) features of things, encoding the new ones in batches until ``num_kills()`` is no longer ``kills``."""
        new = [thing for thing in dict.fromkeys(things) if thing not in self._known]
        with progress(len(new), f"{self._unit}s", self._unit, leave=False) as bar:
            for start in range(0, len(new), self._batch_size):
                if num_kills() != kills:
                    raise MagicError("CLIPScore: stopped")
                batch = new[start : start + self._batch_size]
                for thing, row in zip(batch, self._encode(batch).float().cpu().numpy(), strict=True):
                    if not np.isfinite(row).all() or not row.any():
                        raise MagicError(f"the image-text model gives no usable features for {thing}; try run.dtype=float32")
                    self._known[thing] = row
                bar.update(len(batch))
        return np.stack([self._known[thing] for thing in things])


class ImageTextFeatures:
    """Features of images and texts by one model; what was asked for once is remembered. Safe to share between threads."""

    def __init__(self, load: Callable[[], Encoder], *, batch_size: int = 32) -> None:
        """The model is loaded when features are first asked for.

        Args:
            load: Gives the model.
            batch_size: Images encoded at once.
        """
        self._load = load
        self._model: Encoder | None = None
        self._failure: MagicError | None = None
        self._images = _Remembered("image", self._encode_images, batch_size)
        self._texts = _Remembered("text", self._encode_texts, _TEXTS_AT_ONCE)
        self._lock = threading.Lock()

    def of_images(self, files: Sequence[Path], *, kills: int) -> np.ndarray:
        """(N, E) float32, not normalised.

        Args:
            files: Image files.
            kills: ``num_kills()`` when the work began.

        Raises:
            MagicError: The model cannot be had, an image cannot be read, the model gives no numbers for it, or
                ``kill_all`` was called since the work began.
        """
        with self._lock:
            return self._images.features(files, kills=kills)

    def of_texts(self, texts: Sequence[str], *, kills: int) -> np.ndarray:
        """As ``of_images``, of texts."""
        with self._lock:
            return self._texts.features(texts, kills=kills)

    def _encode_images(self, files: Sequence[Path]) -> Tensor:
        model = self._encoder()
        with ThreadPoolExecutor() as readers:
            images = list(readers.map(_open, files))
        return model.encode_images(images)

    def _encode_texts(self, texts: Sequence[str]) -> Tensor:
        return self._encoder().encode_texts(texts)

    def _encoder(self) -> Encoder:
        if self._failure is not None:
            raise self._failure  # another try would take as long, and fail as well
        if self._model is None:
            try:
                self._model = self._load()
            except MagicError as failure:
                self._failure = failure
                raise
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

    def require(self, corpora: Sequence[Corpus]) -> None:
        for corpus in corpora:
            self._check_images(corpus)

    def score(self, corpora: Sequence[Corpus]) -> list[list[Scores]]:
        kills = num_kills()
        if self._features is None:
            raise MetricUnavailable(f"{self.name} needs an image-text model; choose one with image_text_model=...")
        self.require(corpora)
        of_texts = partial(self._features.of_texts, kills=kills)
        results = []
        for corpus in corpora:
            captions = of_texts([self.prefix + caption for caption in corpus.captions])
            images = self._features.of_images(corpus.images, kills=kills)
            is_said = np.array([says_something(caption) for caption in corpus.captions])
            matches = WEIGHT * np.maximum(0.0, _cosines(images, captions)) * is_said
            per_item = self._score_items(corpus, matches, captions, of_texts)
            results.append([Scores(self.measures[0], float(per_item.mean()), per_item)])
        return results

    def _score_items(
        self, corpus: Corpus, matches: np.ndarray, captions: np.ndarray, of_texts: Callable[[Sequence[str]], np.ndarray]
    ) -> np.ndarray:
        """(N,) the measure, from CLIPScore ``matches`` (N,) and the features (N, E) of the prefixed captions."""
        raise NotImplementedError(f"{type(self).__name__}._score_items")

    def _check_images(self, corpus: Corpus) -> None:
        """All image files are known and there."""
        folder = corpus.image_folder
        remedy = f"add them, or name another folder than --images {folder}" if folder else "give their folder with --images FOLDER"
        if corpus.titles:
            remedy += ", or --retrieved FILE for stories written without image"
        unknown = [name for name, file in zip(corpus.ids, corpus.images or [None] * len(corpus), strict=True) if file is None]
        if unknown:
            raise MetricUnavailable(
                f"{self.name} needs the images: {corpus.name} names none for {len(unknown)} of {counted(len(corpus), 'caption')} "
                f"({_listed(unknown)}); {remedy}"
            )
        files = dict.fromkeys(corpus.images)
        missing = [file for file in files if not os.path.exists(file)]
        if missing and folder:
            names = [str(file.relative_to(folder)) if file.is_relative_to(folder) else str(file) for file in missing]
            raise MetricUnavailable(
                f"{self.name} needs the images: {len(missing)} of the {len(files)} images of {corpus.name} are not below {folder} "
                f"({_listed(names)}); {remedy}"
            )
        if missing:
            raise MetricUnavailable(
                f"{self.name} needs the images: {len(missing)} of the {counted(len(files), 'file')} that {corpus.name} names {'is' if len(missing) == 1 else 'are'} missing "
                f"({_listed(missing)}); {remedy}"
            )

        read = {file: digest for file, digest in zip(corpus.images, corpus.image_digests, strict=False) if digest is not None}
        changed = [file for file, digest in read.items() if sha256(file) != digest]
        if changed:
            raise MetricUnavailable(
                f"{self.name} needs the images as they were captioned: {len(changed)} of the {counted(len(read), 'file')} of {corpus.name} "
                f"{'has' if len(changed) == 1 else 'have'} changed since ({_listed(changed)}); start the run's command again, or, to score by "
                "these images all the same, evaluate the run's predictions.jsonl"
            )

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
    needs_references: ClassVar[bool] = False
    measures: ClassVar[tuple[Measure, ...]] = (Measure("clip_score", "CLIPScore", 0.0, WEIGHT),)

    prefix: str = PREFIX

    def _score_items(
        self, corpus: Corpus, matches: np.ndarray, captions: np.ndarray, of_texts: Callable[[Sequence[str]], np.ndarray]
    ) -> np.ndarray:
        return matches


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

    def _score_items(
        self, corpus: Corpus, matches: np.ndarray, captions: np.ndarray, of_texts: Callable[[Sequence[str]], np.ndarray]
    ) -> np.ndarray:
        references = of_texts([self.prefix + text for texts in corpus.references for text in texts])
        sizes = np.array([len(texts) for texts in corpus.references])
        cosines = _cosines(references, np.repeat(captions, sizes, axis=0))
        closest = np.maximum(0.0, np.maximum.reduceat(cosines, np.cumsum(sizes) - sizes))
        return np.divide(2 * matches * closest, matches + closest, out=np.zeros(len(corpus)), where=matches + closest > 0)


def _listed(names: Sequence[Any]) -> str:
    return ("first: " if len(names) > _NAMES_SHOWN else "") + ", ".join(map(str, names[:_NAMES_SHOWN]))


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
