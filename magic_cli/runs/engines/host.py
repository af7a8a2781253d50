"""What a worker does in a process of its own: batches are written one after the other, images of the next are read meanwhile."""

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
from magic_cli.runs.batch_size import SizeWish
from magic_cli.runs.batches import Batch, BatchResult, BatchWriter
from magic_cli.runs.kinds import Item, WritingTask


@dataclass(frozen=True)
class Order:
    """What a worker needs to begin; can be sent to another process or machine.

    Attributes:
        writer: Who writes batches.
        settings: Of the command.
        task: What is written.
        folder: Of the run.
        first: The first item that a text is to be written for.
        directory: Where relative paths begin.
        size_wish: For a worker that is to find the size of batches; None: it is known.
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
        """What others need to do as ``writer`` does."""
        return cls(type(writer), writer.settings, writer.task, writer.folder.absolute(), first, Path.cwd())


@dataclass
class Ready:
    """What a worker has loaded, taken down as ``runs.decoder.Facts``: the manifest's ``models``, and ``facts`` of how it decodes.

    ``batch_size``: what it found, if it was asked.
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
    """A fault that is the user's to mend, as one line; sent as it is, since exceptions travel badly."""

    message: str

    def unless(self) -> None:
        """Raise it here.

        Raises:
            MagicError: Always.
        """
        raise MagicError(self.message)


@dataclass(frozen=True)
class Delivery:
    """A batch's result, with all the work that its worker has done so far."""

    result: BatchResult
    counts: dict[str, int]
    seconds: dict[str, float]


class Host:
    """Writes batches for a run that another process keeps.

    Args:
        order: What it is to do.
    """

    def __init__(self, order: Order) -> None:
        os.chdir(order.directory)
        quiet_pillow()
        self._order = order
        self._writer = order.writer(order.settings, order.task, order.folder)
        self._readers = ThreadPoolExecutor(1, "images")
        self._images: dict[tuple[int, str], Future] = {}
        self._begun: set[tuple[int, str]] = set()
        self._lock = threading.Lock()

    def load(self) -> Ready | Refusal:
        """Load the models and make them ready."""
        ready = Ready()
        try:
            self._writer.load(ready, self._order.first)
            if self._order.size_wish is not None:
                ready.batch_size = self._writer.choose_batch_size(self._order.size_wish, self._order.first)
            return ready
        except Exception as error:  # told where the run is kept
            return self._refusal(error)

    def expect(self, batch: Batch) -> None:
        """Begin to read the images of a batch, unless that was begun; returns at once. May be called from another thread."""
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
        """What ends the run: only the death of a process is another's to make good."""
        run = self._order.settings.run
        if isinstance(error, MagicError):
            return Refusal(str(error))
        if type(error).__name__ == "OutOfMemoryError":  # torch's
            return Refusal(out_of_memory(run, "the same command then goes on"))
        traceback.print_exception(error)
        return Refusal(f"a worker failed ({type(error).__name__}: {error})")


def _name(batch: Batch) -> tuple[int, str]:
    return batch.number, batch.items[0].id
