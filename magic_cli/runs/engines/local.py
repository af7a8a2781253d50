"""Writes batches one after the other in this process, and reads images ahead."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from magic_cli.image_features.reading import BATCHES_AHEAD, ImageStream, choose_workers
from magic_cli.runs.batch_size import SizeWish
from magic_cli.runs.batches import Batch, BatchResult, BatchWriter
from magic_cli.runs.kinds import Item

if TYPE_CHECKING:
    from magic_cli.runs.engines.base import Record


class LocalEngine:
    """Does all work in this process, except reading images."""

    def __init__(self, writer: BatchWriter, first: Item, run: Record) -> None:
        self._writer, self._first, self._run = writer, first, run

    def __enter__(self) -> Self:
        self._writer.load(self._run, self._first)
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """Nothing has to be stopped."""

    def get_ready(self) -> None:
        """It is, since it was entered."""

    def batch_size(self, num_items: int, known: Mapping[str, Any] | None) -> dict[str, Any]:
        return self._writer.choose_batch_size(SizeWish(num_items, known=known), self._first)

    def results(self, batches: Sequence[Batch], *, in_order: bool = False) -> Iterator[BatchResult]:
        writer = self._writer
        paths = (path for batch in batches for path in writer.images(batch))
        workers = choose_workers(writer.settings.run.workers) if len(batches) > 1 else 0
        ahead = BATCHES_AHEAD * (len(batches[0].items) if batches else 1)
        with ImageStream(writer.reader, paths, workers=workers, ahead=ahead) as stream:
            for batch in batches:
                with writer.work.phase("waiting_for_images"):
                    images = stream.take(len(writer.images(batch)))
                yield writer.write(batch, images)

    def work(self) -> tuple[dict[str, int], dict[str, float]]:
        return dict(self._writer.work.counts), dict(self._writer.work.seconds)
