"""Builds the indexes of captions that a run needs with all its workers: pieces go to them, this process keeps the files.

A single process needs none of this: it encodes the captions itself when it loads its models.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from magic_cli.errors import MagicError
from magic_cli.models.shelf import Shelf
from magic_cli.retrieval.caption_index import CaptionIndex, Pieces, encode_by_length
from magic_cli.runs.batch_list import BatchList
from magic_cli.runs.batches import Batch, BatchResult, BatchWriter
from magic_cli.runs.decoder import Facts, check_tokens
from magic_cli.runs.engines.host import Ready
from magic_cli.runs.engines.pool import WorkerPool
from magic_cli.runs.settings import WritingSettings

if TYPE_CHECKING:
    from magic_cli.models.image_text.image_text_model import ImageTextModel

_MODEL = "image_text_model"


@dataclass(frozen=True)
class Piece:
    """Captions that are encoded by one worker, as one item: a worker that is lost never leaves them to several."""

    id: str
    texts: Sequence[str]
    path: None = None
    """They have no image."""


class _Items(Sequence[Piece]):
    """The pieces as items, made when they are asked for."""

    def __init__(self, pieces: Pieces) -> None:
        self._pieces = pieces

    def __len__(self) -> int:
        return len(self._pieces)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[number] for number in range(len(self))[place]]
        return Piece(str(place), self._pieces[place])


class CaptionEncodingWriter(BatchWriter):
    """Encodes a piece; what it writes of it are its rows of features."""

    _model: ImageTextModel

    def load(self, facts: Facts, first: Any) -> None:
        import torch

        from magic_cli.models.loading import resolve_device
        from magic_cli.models.threads import use_threads

        run = self.settings.run
        use_threads(run.threads)
        self._check_the_rest(first)
        where = {"device": resolve_device(run.device), "dtype": getattr(torch, run.dtype.value)}
        shelf = self.shelf or Shelf()
        self._model, of_model = shelf.image_text_model(self.settings.image_text_model, **where, work=self.work)
        facts.use_models({_MODEL: of_model})
        facts.record(device=where["device"].type, dtype=str(where["dtype"]))

    def _check_the_rest(self, first: Any) -> None:
        """Refuse now what the run would refuse after its captions are encoded, which may take hours."""
        from magic_cli.models.loading import check_language_model

        if self.settings.decoding.needs_language_model:
            method = self.settings.decoding.load()
            check_language_model(self.settings.language_model, lambda tokens: check_tokens(tokens, method, self.task, first))

    def images(self, batch: Batch) -> list[Path]:
        return []

    def write(self, batch: Batch, images: Sequence[Any]) -> BatchResult:
        [piece] = batch.items
        with self.work.phase("index"):
            return BatchResult(batch.number, predictions=[{"features": encode_by_length(self._model, piece.texts)}])

    def failures(self, items: Sequence[Any], outcomes: Sequence[Any], done: Collection[str]) -> list[dict[str, Any]]:
        return [{"reason": str(reason)} for reason in outcomes]


def build_caption_indexes(engine: WorkerPool) -> None:
    """Encode the captions that the run's method and guides look up; the workers then find them encoded.

    Raises:
        MagicError: The captions, the model or a folder cannot be used, or captions end each worker that encodes them.
    """
    order, run = engine.order, engine.run
    sources = order.settings.caption_sources if isinstance(order.settings, WritingSettings) else []
    for source in sources:
        found, index = Ready(), CaptionIndex(source)
        engine.turn_to(replace(order, writer=CaptionEncodingWriter), found)
        engine.get_ready()
        index.build(found.models[_MODEL], found.facts, partial(_encoded, engine, source.setting))
    if sources:
        engine.turn_to(order, run)


def _encoded(engine: WorkerPool, setting: str, pieces: Pieces) -> Iterator[np.ndarray]:
    """The features of each piece, in their order."""
    for result in engine.results(BatchList(_Items(pieces), 1, ()), in_order=True):
        if result.failures:
            raise MagicError(
                f"{setting}.captions: captions {pieces[result.number][0][:60]!r} and on: {result.failures[0]['reason']}"
            )
        yield result.predictions[0]["features"]
