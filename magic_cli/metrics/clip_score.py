"""CLIPScore and RefCLIPScore (Hessel et al. 2021), on any image-text model.

Both work on the captions as they are written. A command connects them to one ``ImageTextFeatures``, so that the model is
loaded once and every distinct image and text is encoded once, whatever is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from magic_cli.data.images import RefusedImage, digest_of, is_there
from magic_cli.errors import SettingsError
from magic_cli.metrics.base import Corpus, Measure, MetricUnavailable, Scores
from magic_cli.metrics.image_text import FeatureMetric, cosines
from magic_cli.metrics.java.process import num_kills
from magic_cli.metrics.text import says_something
from magic_cli.terminal.wording import counted

PREFIX = "A photo depicts "
WEIGHT = 2.5
"""Stretches the cosines of captions, which rarely exceed 0.4, over about [0, 1]."""

_NAMES_SHOWN = 5  # of images that are missing


class ImageTextMetric(FeatureMetric):
    """Base of the metrics that compare captions with images."""

    prefix: str

    def __post_init__(self) -> None:
        if self.prefix.strip() and not self.prefix[-1].isspace():
            raise SettingsError(f"metrics.{self.name}.prefix must end with a space, got {self.prefix!r}")

    def require(self, corpora: Sequence[Corpus]) -> None:
        for corpus in corpora:
            self._check_images(corpus)

    def score(self, corpora: Sequence[Corpus]) -> list[list[Scores]]:
        kills = num_kills()
        features = self.features()
        self.require(corpora)
        of_texts = partial(features.of_texts, kills=kills)
        results = []
        for corpus in corpora:
            captions = of_texts([self.prefix + caption for caption in corpus.captions])
            images = features.of_images([file for file in corpus.images if file is not None], kills=kills)
            is_said = np.array([says_something(caption) for caption in corpus.captions])
            matches = WEIGHT * np.maximum(0.0, cosines(images, captions)) * is_said
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
        remedy = (
            f"add them, or name another folder than --images {folder}" if folder else "give their folder with --images FOLDER"
        )
        if corpus.titles:
            remedy += ", or --retrieved FILE for stories written without image"
        unknown = [name for name, file in zip(corpus.ids, corpus.images or [None] * len(corpus), strict=True) if file is None]
        if unknown:
            raise MetricUnavailable(
                f"{self.name} needs the images: {corpus.name} names none for {len(unknown)} of {counted(len(corpus), 'caption')} "
                f"({_listed(unknown)}); {remedy}"
            )
        files = dict.fromkeys(file for file in corpus.images if file is not None)
        missing = [file for file in files if not is_there(file)]
        if refused := next((file for file in missing if isinstance(file, RefusedImage)), None):
            raise MetricUnavailable(f"{self.name} needs the images: {corpus.name} names {refused}, {refused.why}; {remedy}")
        if missing and folder:
            names = [
                str(file.relative_to(folder)) if isinstance(file, Path) and file.is_relative_to(folder) else str(file)
                for file in missing
            ]
            raise MetricUnavailable(
                f"{self.name} needs the images: {len(missing)} of the {len(files)} images of {corpus.name} are not below {folder} "
                f"({_listed(names)}); {remedy}"
            )
        if missing:
            raise MetricUnavailable(
                f"{self.name} needs the images: {len(missing)} of the {counted(len(files), 'file')} that {corpus.name} names {'is' if len(missing) == 1 else 'are'} missing "
                f"({_listed(missing)}); {remedy}"
            )

        digests = zip(corpus.images, corpus.image_digests, strict=False)
        read = {file: digest for file, digest in digests if file is not None and digest is not None}
        changed = [file for file, digest in read.items() if digest_of(file) != digest]
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
        to_references = cosines(references, np.repeat(captions, sizes, axis=0))
        closest = np.maximum(0.0, np.maximum.reduceat(to_references, np.cumsum(sizes) - sizes))
        return np.divide(2 * matches * closest, matches + closest, out=np.zeros(len(corpus)), where=matches + closest > 0)


def _listed(names: Sequence[Any]) -> str:
    return ("first: " if len(names) > _NAMES_SHOWN else "") + ", ".join(map(str, names[:_NAMES_SHOWN]))
