"""What a metric is: its measures (each with direction and range), what it scores, and what it gives back.

To add a metric: one module here with a dataclass of its settings that has ``name``, ``measures`` and ``score``; its class
in ``_ALL`` and a field in ``MetricsSettings`` (``metrics/settings.py``); one test against a slow twin. See docs/adding-a-metric.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np

from magic_cli.data.answers import Answer
from magic_cli.data.images import StoredImage
from magic_cli.errors import MagicError

T = TypeVar("T")


class MetricUnavailable(MagicError):
    """A metric cannot run here. The message says why and what to install; all other metrics still run."""


def available(load: Callable[[], T]) -> T:
    """What a metric needs, loaded.

    Raises:
        MetricUnavailable: It cannot be loaded; the other metrics do not need it.
    """
    try:
        return load()
    except MagicError as error:
        raise MetricUnavailable(str(error)) from error


@dataclass(frozen=True)
class Measure:
    """One column of a table of scores."""

    key: str
    """As in metrics.json, such as ``bleu_4``."""
    label: str
    """As printed, such as ``B@4``."""
    low: float
    """Least possible value."""
    high: float
    """Greatest possible value."""
    higher_is_better: bool | None = True
    """None: neither side is better."""
    scale: float = 100.0
    """Tables print the value times this, as papers do."""
    digits: int = 2
    """Behind the point, in tables."""


@dataclass(frozen=True)
class Corpus:
    """One system's captions of N images, all of them scored: no id is missing and none appears twice.

    Captions and references are the system's and annotators' words, untouched except for white space: every run of
    white space, of any kind, is one space (so a caption is one line for every tool).
    """

    name: str
    """What tables call the system."""
    ids: tuple[str, ...]
    captions: tuple[str, ...]
    references: tuple[tuple[str, ...], ...]
    """(N,) tuples of at least one reference each, unless no metric ``needs_references``. Equal tuples mean equal references:
    metrics may cache by value."""
    images: tuple[Path | StoredImage | None, ...] = ()
    """(N,) image files, None where not known; empty if no image is known."""
    image_digests: tuple[str | None, ...] = ()
    """(N,) SHA-256 of the image files as the captioner has read them, None where not known; empty if none is known."""
    image_folder: Path | None = None
    """Where the image files were looked for; None: where the files of captions or references say."""
    titles: tuple[str, ...] = ()
    """(N,) titles, if these are stories; their one reference, where there is any, is what a person wrote for the title."""
    answers: tuple[tuple[Answer, ...], ...] = ()
    """(N,) the answers to each item's steps, if these are items of texts and images; ``captions`` are then their whole texts."""
    tokenized: Tokenized | None = None
    """After the PTB tokenizer; None until ``ptb.tokenize`` has run, or where no metric needs it."""

    @property
    def tokens(self) -> Tokenized:
        """What the PTB tokenizer made of the texts, for metrics that say that they need it."""
        if self.tokenized is None:
            raise TypeError(f"{self.name}: a metric reads tokens, but does not say needs_tokens")
        return self.tokenized

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Tokenized:
    """A corpus as the PTB tokenizer of pycocoevalcap leaves it: lower case, no punctuation, tokens joined by one space."""

    captions: tuple[str, ...]
    """(N,); empty where a caption is empty or nothing but punctuation."""
    references: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Scores:
    """One measure of one corpus of N items."""

    measure: Measure
    overall: float
    """In ``[measure.low, measure.high]``, not times ``measure.scale``."""
    per_item: np.ndarray
    """(N,) float64; NaN where an item has no value."""
    statistics: np.ndarray | None = None
    """(N, S) sums from which ``combine`` makes the overall value; None: the overall value is the mean of the items."""
    combine: Callable[[np.ndarray], np.ndarray] | None = None
    """(R, S) sums over items -> (R,) overall values."""
    details: tuple[dict[str, Any], ...] = field(default=())
    """(N,) sub-scores of each item, plain values; empty if the metric has none."""

    def resample(self, counts: np.ndarray) -> np.ndarray:
        """Overall values of R resampled corpora, for the bootstrap.

        Args:
            counts: (R, N) how often each item stands in each resampled corpus.

        Returns:
            (R,) overall values.
        """
        if self.combine is None:
            return counts @ self.per_item / counts.sum(axis=1)
        return self.combine(counts @ self.statistics)


@dataclass
class Metric:
    """Base of all metrics. A metric is a dataclass that holds its settings and nothing else."""

    name: ClassVar[str]
    """As in ``metrics.names``."""
    measures: ClassVar[tuple[Measure, ...]]
    needs_tokens: ClassVar[bool] = False
    """Whether ``Corpus.tokenized`` must be there."""
    needs_references: ClassVar[bool] = True
    """Whether every item must have a reference."""
    runs_outside: ClassVar[bool] = False
    """Whether another program does the work: such metrics run beside the others, those in Python one after another."""

    without_effect: ClassVar[tuple[str, ...]] = ()
    """Settings that cannot change a score, such as memory and threads."""

    def require(self, corpora: Sequence[Corpus]) -> None:
        """Check, before any work, that corpora with these items can be scored here, whatever their captions are.

        Raises:
            MetricUnavailable: They cannot.
        """

    def score(self, corpora: Sequence[Corpus]) -> list[list[Scores]]:
        """Score several corpora at once, so that what they share (references, a JVM, a model) is prepared once.

        Returns:
            For each corpus one ``Scores`` for each of ``measures``, in their order.

        Raises:
            MetricUnavailable: It cannot run here.
        """
        raise NotImplementedError(f"{type(self).__name__}.score")

    def facts(self) -> dict[str, Any]:
        """What metrics.json records about the origin of the numbers: tool, version, settings."""
        raise NotImplementedError(f"{type(self).__name__}.facts")
