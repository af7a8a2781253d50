"""What a worker does in its own process: it writes one batch after the other and reads the images of the next one meanwhile."""

from __future__ import annotations

import os
import threading
import traceback
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from magic_cli.data.images import quiet_pillow
from magic_cli.errors import MagicError, out_of_memory
from magic_cli.models.shelf import Shelf
from magic_cli.models.work_counter import WorkCounter
from magic_cli.runs.batch_size import SizeWish
from magic_cli.runs.batches import Batch, BatchResult, BatchWriter
from magic_cli.runs.kinds import Item, WritingTask


@dataclass(frozen=True)
class Order:
    """Everything that a worker needs to begin. It can be sent to another process or machine.

    Attributes:
        writer: The class that writes batches.
        settings: Settings of the command.
        task: The kind of text.
        folder: The run folder.
        first: The first item that needs a text.
        directory: The folder that relative paths start from.
        size_wish: For a worker that must find the batch size; None: it is known.
    """

    writer: type[BatchWriter]
    settings: Any
    task: WritingTask
    folder: Path
    first: Item
    directory: Path
    size_wish: SizeWish | None = None

    @classmethod
    def of(cls, writer: BatchWriter, first: Item) -> Order:
        """The order for workers that do the same as ``writer``."""
        return cls(type(writer), writer.settings, writer.task, writer.folder.absolute(), first, Path.cwd())


@dataclass
class Ready:
    """What a worker has loaded, as ``runs.decoder.Facts``: the manifest's ``models``, and ``facts`` about decoding.

    ``batch_size``: what the worker found, if it was asked.
    """

    models: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    batch_size: dict[str, Any] | None = None

    def use_models(self, models: dict[str, Any]) -> None:
        self.models |= models

    def record(self, **facts: Any) -> None:
        self.facts |= facts


@dataclass(frozen=True)
class Refusal:
    """An error that the user can mend, as one line. It is sent as text because exceptions do not pickle reliably."""

    message: str

    def raise_here(self) -> None:
        """Raise the error in this process.

        Raises:
            MagicError: Always.
        """
        raise MagicError(self.message)


@dataclass(frozen=True)
class Delivery:
    """The result of a batch, with the counts of all work that the worker has done so far."""

    result: BatchResult
    counts: dict[str, int]
    seconds: dict[str, float]


class Host:
    """Writes batches for a run that another process manages. Its models stay loaded from one order to the next."""

    def __init__(self) -> None:
        quiet_pillow()
        self._order: Order
        self._writer: BatchWriter
        self._shelf, self._work = Shelf(), WorkCounter()
        self._readers = ThreadPoolExecutor(1, "images")
        self._images: dict[tuple[type, int, str], Future] = {}
        self._begun: set[tuple[type, int, str]] = set()
        self._lock = threading.Lock()

    def load(self, order: Order) -> Ready | Refusal:
        """Load the models for an order and prepare them; all batches that come are of this order, until the next."""
        os.chdir(order.directory)
        self._order, ready = order, Ready()
        self._writer = order.writer(order.settings, order.task, order.folder)
        self._writer.shelf, self._writer.work = self._shelf, self._work
        self._begun.clear()
        try:
            self._writer.load(ready, order.first)
            if order.size_wish is not None:
                ready.batch_size = self._writer.choose_batch_size(order.size_wish, order.first)
            return ready
        except Exception as error:  # reported by the process that manages the run
            return self._refusal(error)

    def expect(self, batch: Batch) -> None:
        """Start to read the images of a batch, unless that has begun; returns at once. May be called from another thread."""
        reader, name = self._writer.reader, _name(batch)
        with self._lock:
            if name in self._begun:
                return
            self._begun.add(name)
            self._images[name] = self._readers.submit(lambda: [reader.read(path) for path in self._writer.images(batch)])

    def write(self, batch: Batch) -> Delivery | Refusal:
        """Write a batch."""
        work = self._writer.work
        self.expect(batch)
        try:
            with work.phase("waiting_for_images"):
                images = self._images.pop(_name(batch)).result()
            result = self._writer.write(batch, images)
        except Exception as error:
            return self._refusal(error)
        return Delivery(result, dict(work.counts), dict(work.seconds))

    def _refusal(self, error: Exception) -> Refusal:
        """The message that ends the run. Other workers can only make up for the death of a process, not for an error."""
        run = self._order.settings.run
        if isinstance(error, MagicError):
            return Refusal(str(error))
        if type(error).__name__ == "OutOfMemoryError":  # torch's
            return Refusal(out_of_memory(run, "the same command then goes on"))
        traceback.print_exception(error)
        return Refusal(f"a worker failed ({type(error).__name__}: {error})")


def _name(batch: Batch) -> tuple[type, int, str]:
    """Names a batch among those of all orders: one may come late, when the next order, of other items, has begun."""
    first = batch.items[0]
    return type(first), batch.number, first.id
