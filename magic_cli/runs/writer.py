"""The loop of a run that writes texts: it sends batches to an engine and puts the results into the run folder."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any, Generic

from magic_cli.runs.batch_list import BatchList, Ids
from magic_cli.runs.batch_size import AUTO, told
from magic_cli.runs.batches import FAULTS, Batch, BatchResult, BatchWriter
from magic_cli.runs.engines.base import Engine
from magic_cli.runs.engines.choose import open_engine
from magic_cli.runs.folder import RunFolder
from magic_cli.runs.kinds import ItemT, WritingTask
from magic_cli.terminal.progress import Progress, progress
from magic_cli.terminal.streams import print_line


class Writer(Generic[ItemT]):
    """The loop over batches; loads the models only if an item needs them.

    Args:
        settings: Settings of the command.
        task: The kind of text.
        run: The run folder.
    """

    batch_writer: type[BatchWriter] = BatchWriter
    """The class that writes a batch."""

    def __init__(self, settings: Any, task: WritingTask[ItemT], run: RunFolder) -> None:
        self.settings, self.task, self.run = settings, task, run
        self.loading_seconds = 0.0
        """Seconds of wall time for loading the models and finding the first readable image."""

    def write(self, items: Sequence[ItemT]) -> None:
        """Write all unfinished items, batch by batch.

        Batches are cut from all items, finished or not, so that a resumed run decodes the same batches as an uninterrupted one.
        The memory of earlier steps may differ then; the tokens do not.
        """
        self.run.record(work={}, phase_seconds={})
        began = time.monotonic()
        with ExitStack() as stack:
            writer = self.make_batch_writer()
            first = self._first_to_write(items, writer)
            engine = None if first is None else stack.enter_context(self.open_engine(writer, first))
            batches = BatchList(items, self._batch_size(len(items), engine), self.run.predictions)
            self.loading_seconds = time.monotonic() - began
            self._write(batches, engine)
        self.run.arrange(Ids(batches))

    def make_batch_writer(self) -> BatchWriter:
        """Make the object that writes the batches; it has loaded nothing yet."""
        return self.batch_writer(self.settings, self.task, self.run.path)

    def open_engine(self, writer: BatchWriter, first: ItemT) -> AbstractContextManager[Engine]:
        """Who has the batches written, with the models loaded."""
        return open_engine(writer, first, self.run)

    def _write(self, batches: BatchList, engine: Engine | None) -> None:
        with progress(batches.num_items, self.task.texts, self.task.unit) as bar:
            to_write = batches.open()
            told = _Told(self, batches, {batch.number for batch in to_write}, bar)
            if engine is not None:
                for result in engine.results(to_write):
                    self._keep(result)
                    told.finished(result.number)
            told.rest()

    def _batch_size(self, num_items: int, engine: Engine | None) -> int:
        """How many items a batch has; what ``auto`` found stands in the manifest, for the run to go on with."""
        size, known = self.settings.run.batch_size, self.run.manifest.get("batch_size")
        if size != AUTO:
            self.run.manifest.pop("batch_size", None)
            return size
        if engine is not None:
            self.run.manifest["batch_size"] = known = engine.batch_size(num_items, known)
            print(f"magic: {told(known)}", file=sys.stderr)
        return known["chosen"] if known else max(1, num_items)  # an empty part has no items

    def _first_to_write(self, items: Sequence[ItemT], writer: BatchWriter) -> ItemT | None:
        """The first item that a text is to be written for, as far as its images tell: models are loaded only if there is one.

        If there is none, the reasons are recorded and the run is done.
        """
        unwritable, reasons = [], []
        for item in (item for item in items if item.id not in self.run.predictions):
            outcome = writer.judge(item, [writer.reader.read(path) for path in self.task.images(item)])
            if not isinstance(outcome, FAULTS):
                return item
            unwritable.append(item)
            reasons.append(outcome)
        self.run.add_failures(writer.failures(unwritable, reasons, ()))
        return None

    def _keep(self, result: BatchResult) -> None:
        self.run.add_failures(result.failures)
        self.run.add_trace(result.steps)
        self.run.add_predictions(result.predictions)


class _Told:
    """What stdout has shown: each text as soon as all texts before it are there, in the order of the items."""

    def __init__(self, writer: Writer, batches: BatchList, unfinished: set[int], bar: Progress) -> None:
        self._writer, self._batches, self._open, self._bar = writer, batches, unfinished, bar
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
