"""Writes batches one after the other in this process, and reads images ahead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Self

from magic_cli.image_features.reading import ImageStream, choose_workers
from magic_cli.runs.batches import Batch, BatchResult, BatchWriter
from magic_cli.runs.kinds import Item

if TYPE_CHECKING:
    from magic_cli.runs.folder import RunFolder

_BATCHES_AHEAD = 2  # their images are read while the models work on an earlier batch


class LocalEngine:
    """Does all work in this process, except reading images."""

    def __init__(self, writer: BatchWriter, first: Item, run: RunFolder) -> None:
        self._writer, self._first, self._run = writer, first, run

    def __enter__(self) -> Self:
        self._writer.load(self._run, self._first)
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """Nothing has to be stopped."""

    def results(self, batches: Sequence[Batch]) -> Iterator[BatchResult]:
        writer, options = self._writer, self._writer.settings.run
        paths = [path for batch in batches for path in writer.images(batch)]
        workers = choose_workers(options.workers) if len(batches) > 1 else 0
        with ImageStream(writer.reader, paths, workers=workers, ahead=_BATCHES_AHEAD * options.batch_size) as stream:
            for batch in batches:
                with writer.work.phase("waiting_for_images"):
                    images = stream.take(len(writer.images(batch)))
                yield writer.write(batch, images)

    def work(self) -> tuple[dict[str, int], dict[str, float]]:
        return dict(self._writer.work.counts), dict(self._writer.work.seconds)
