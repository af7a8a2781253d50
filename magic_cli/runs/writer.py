"""The loop of a run that writes texts: it sends batches to an engine and puts the results into the run folder."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from magic_cli.runs.batches import FAULTS, Batch, BatchResult, BatchWriter
from magic_cli.runs.engines.base import Engine
from magic_cli.runs.engines.choose import open_engine
from magic_cli.runs.folder import RunFolder
from magic_cli.runs.kinds import Item, WritingTask
from magic_cli.terminal.progress import Progress, progress
from magic_cli.terminal.streams import print_line


class Writer:
    """The loop over batches; loads the models only if an item needs them.

    Args:
        settings: Settings of the command.
        task: The kind of text.
        run: The run folder.
    """

    batch_writer: type[BatchWriter] = BatchWriter
    """The class that writes a batch."""

    def __init__(self, settings: Any, task: WritingTask, run: RunFolder) -> None:
        self.settings, self.task, self.run = settings, task, run
        self.loading_seconds = 0.0
        """Seconds of wall time for loading the models and finding the first readable image."""

    def write(self, items: Sequence[Item]) -> None:
        """Write all unfinished items, batch by batch.

        Batches are cut from all items, finished or not, so that a resumed run decodes the same batches as an uninterrupted one.
        The memory of earlier steps may differ then; the tokens do not.
        """
        self.run.record(work={}, phase_seconds={})
        batches, began = self._batches(items), time.monotonic()
        with ExitStack() as stack:
            writer = self.make_batch_writer()
            first = self._first_to_write(batches, writer)
            engine = None if first is None else stack.enter_context(open_engine(writer, first, self.run))
            self.loading_seconds = time.monotonic() - began
            self._write(batches, engine)
        self.run.arrange([[item.id for item in batch.items] for batch in batches])

    def make_batch_writer(self) -> BatchWriter:
        """Make the object that writes the batches; it has loaded nothing yet."""
        return self.batch_writer(self.settings, self.task, self.run.path)

    def _write(self, batches: Sequence[Batch], engine: Engine | None) -> None:
        with progress(sum(len(batch.items) for batch in batches), self.task.texts, self.task.unit) as bar:
            told = _Told(self, batches, bar)
            if engine is not None:
                for result in engine.results([batch for batch in batches if not batch.is_done]):
                    self._keep(result)
                    told.finished(result.number)
            told.rest()

    def _batches(self, items: Sequence[Item]) -> list[Batch]:
        size, done = self.settings.run.batch_size, self.run.predictions.keys()
        parts = [tuple(items[i : i + size]) for i in range(0, len(items), size)]
        return [Batch(number, part, frozenset(item.id for item in part if item.id in done)) for number, part in enumerate(parts)]

    def _first_to_write(self, batches: Sequence[Batch], writer: BatchWriter) -> Item | None:
        """The first item that needs a text and has a readable image. Models are loaded only if there is one.

        If there is none, the reasons are recorded and the run is done.
        """
        pending = [(item, batch) for batch in batches for item in batch.items if item.id not in batch.done]
        reasons = []
        for item, _ in pending:
            outcome = writer.judge(item, [writer.reader.read(path) for path in self.task.images(item)])
            if not isinstance(outcome, FAULTS):
                return item
            reasons.append(outcome)
        self.run.add_failures(writer.failures([item for item, _ in pending], reasons, ()))
        return None

    def _keep(self, result: BatchResult) -> None:
        self.run.add_failures(result.failures)
        self.run.add_trace(result.steps)
        self.run.add_predictions(result.predictions)


class _Told:
    """What stdout has shown: each text as soon as all texts before it are there, in the order of the items."""

    def __init__(self, writer: Writer, batches: Sequence[Batch], bar: Progress) -> None:
        self._writer, self._batches, self._bar = writer, batches, bar
        self._open = {batch.number for batch in batches if not batch.is_done}
        self._next = 0

    def finished(self, number: int) -> None:
        """Note that batch ``number`` is done."""
        self._open.discard(number)
        while self._next < len(self._batches) and self._next not in self._open:
            self._tell(self._batches[self._next])
            self._next += 1

    def rest(self) -> None:
        """Show the rest: no further batch will come."""
        for batch in self._batches[self._next :]:
            self._tell(batch)
        self._next = len(self._batches)

    def _tell(self, batch: Batch) -> None:
        task, predictions = self._writer.task, self._writer.run.predictions
        for item in batch.items:
            if item.id in predictions:
                with self._bar.paused():
                    print_line(*task.line(item, predictions[item.id]))
        self._bar.update(len(batch.items))
