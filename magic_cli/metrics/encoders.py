"""Models that turn texts into vectors for metrics: where they come from, and what they do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np

from magic_cli.metrics.base import Metric, MetricUnavailable, available
from magic_cli.models.settings import ModelSource


class EncoderSource(ModelSource):
    """Where a metric's encoder comes from."""

    path_is: ClassVar[str] = "folder"
    instead: ClassVar[str]
    """What the user can do without such a model."""


class TokenEncoder(Protocol):
    """A language model whose last hidden state stands for a text."""

    def token_ids(self, texts: Sequence[str], max_length: int) -> list[list[int]]:
        """Token ids of each text, cut at ``max_length``; of an empty text the end-of-text token."""

    def encode_ids(self, ids: Sequence[Sequence[int]]) -> np.ndarray:
        """(N, H) float32 last-layer states of the last token of each text."""


class EncoderMetric(Metric):
    """Base of the metrics that need an encoder; they score only after ``connect``."""

    _load: Callable[[], tuple[Any, dict[str, Any]]] | None = None
    _loaded: tuple[Any, dict[str, Any]] | None = None

    def connect(self, load: Callable[[], tuple[Any, dict[str, Any]]]) -> None:
        """Use what ``load`` gives, when the first text is encoded: the model, and what metrics.json says of it."""
        self._load = load

    def encoder(self) -> Any:
        """The encoder.

        Raises:
            MetricUnavailable: There is none, or it cannot be loaded.
        """
        if self._load is None:
            raise MetricUnavailable(f"{self.name} needs a text model; run it through `magic evaluate`")
        if self._loaded is None:
            self._loaded = available(self._load)
        return self._loaded[0]

    def model_facts(self) -> dict[str, Any]:
        """What metrics.json says of the model; empty until it is loaded."""
        return self._loaded[1] if self._loaded is not None else {}
