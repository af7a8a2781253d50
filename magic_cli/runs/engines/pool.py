"""What all engines with several workers share: they send batches, receive results, and replace workers that die."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from magic_cli.errors import MagicError
from magic_cli.models.sources import each_only_read
from magic_cli.provenance import differences
from magic_cli.runs.batch_size import SizeWish
from magic_cli.runs.batches import Batch, BatchResult, BatchWriter
from magic_cli.runs.engines.dispatch import AT_ONCE, Dispatcher
from magic_cli.runs.engines.host import Delivery, Order, Ready, Refusal
from magic_cli.runs.kinds import Item, Unwritable

if TYPE_CHECKING:
    from magic_cli.runs.engines.base import Record

_DEAD_AT_START, _DEAD_LATER = 3, 30
"""The run ends when so many workers in a row die before one is ready; the second number holds once some have been ready."""
POISON = "it ended three workers that held nothing else; check the file, then start again"


class Death:
    """The death of a worker.

    Attributes:
        reason: The reason, as the user reads it.
        is_machine: The whole machine is gone, so the worker's batches cannot be the cause.
    """

    def __init__(self, reason: str, *, is_machine: bool = False) -> None:
        self.reason, self.is_machine = reason, is_machine


class WorkerPool:
    """Base class of engines with several workers.

    Args:
        writer: Knows the run; loads nothing in this process.
        first: The first item that needs a text.
        run: Receives facts about the models.
    """

    setting: str
    """The setting that asked for several workers; used in messages."""

    def __init__(self, writer: BatchWriter, first: Item, run: Record) -> None:
        self.order = Order.of(writer, first)
        self.run = run
        self._done: dict[str, tuple[dict[str, int], dict[str, float]]] = {}
        self._models: dict | None = None
        self._batch_size: dict[str, Any] = {}
        self._dead_at_start = 0
        self._alive: set[str] = set()
        self._at_work: set[str] = set()
        """Those that have the order."""
        self._ready: set[str] = set()
        """Those of them that have loaded what it takes."""
        self._idle: set[str] = set()
        """Those that are done with an earlier order."""
        self._number = 0

    def start(self, name: str) -> None:
        """Start a worker; ``events`` yields what it has loaded."""
        raise NotImplementedError(f"{type(self).__name__}.start")

    def turn(self, name: str) -> None:
        """Give a worker that is done with an earlier order the present one; ``events`` yields what it has loaded."""
        raise NotImplementedError(f"{type(self).__name__}.turn")

    def send(self, name: str, batch: Batch) -> None:
        """Send a batch to a worker."""
        raise NotImplementedError(f"{type(self).__name__}.send")

    def events(self) -> Iterator[tuple[str, Ready | Delivery | Refusal | Death]]:
        """Yield what has happened since the last call; waits if nothing has."""
        raise NotImplementedError(f"{type(self).__name__}.events")

    def wanted(self) -> int:
        """How many workers there should be now."""
        raise NotImplementedError(f"{type(self).__name__}.wanted")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        raise NotImplementedError(f"{type(self).__name__}.__exit__")

    def neighbours(self) -> int:
        """How many workers share the memory of one machine, or of one device, at most."""
        raise NotImplementedError(f"{type(self).__name__}.neighbours")

    def get_ready(self) -> None:
        nothing = Dispatcher([])
        while not self._ready:
            if not self._at_work and (self._idle or not self._alive):
                self._employ_another()
            list(self._handle_events(nothing))

    def turn_to(self, order: Order, run: Record) -> None:
        """From now on have another order carried out, by the same workers. No batch may be under way.

        Args:
            order: What is to be done.
            run: Receives facts about its models.
        """
        self.order, self.run, self._models = order, run, None
        self._idle |= self._ready
        self._ready, self._at_work = set(), set()

    def batch_size(self, num_items: int, known: Mapping[str, Any] | None) -> dict[str, Any]:
        most = math.ceil(num_items / (self.wanted() * AT_ONCE))  # so that all have something to do
        self.order = replace(self.order, size_wish=SizeWish(most, self.neighbours(), known))
        self.get_ready()
        self.order = replace(self.order, size_wish=None)
        return self._batch_size

    def results(self, batches: Sequence[Batch], *, in_order: bool = False) -> Iterator[BatchResult]:
        dispatcher = Dispatcher(batches, in_order=in_order)
        while dispatcher.size:
            most = min(self.wanted(), dispatcher.size)
            while len(self._at_work) < most and (self._idle or len(self._alive) < most):
                self._employ_another()
            for name in sorted(self._ready):
                while (piece := dispatcher.give(name)) is not None:
                    self.send(name, piece.batch)
            for result in self._handle_events(dispatcher):
                yield from dispatcher.release(result)

    def _employ_another(self) -> None:
        """Give the order to one that is idle, or to a new one."""
        if self._idle:
            self._idle.remove(name := min(self._idle))
            self._at_work.add(name)
            self.turn(name)
        else:
            self._number += 1
            name = f"worker-{self._number}"
            self._alive.add(name)
            self._at_work.add(name)
            self.start(name)

    def _handle_events(self, dispatcher: Dispatcher) -> Iterator[BatchResult]:
        for name, event in self.events():
            if isinstance(event, Death):
                self._alive.discard(name)
                self._at_work.discard(name)
                yield from self._bury(name, event, dispatcher)
            elif isinstance(event, Refusal):
                event.raise_here()
            elif isinstance(event, Ready):
                self._welcome(name, event)
            elif (result := self._accept(name, event, dispatcher)) is not None:
                yield result

    def work(self) -> tuple[dict[str, int], dict[str, float]]:
        counts: Counter[str] = Counter()
        seconds: Counter[str] = Counter()
        for of_worker, its_seconds in self._done.values():
            counts.update(of_worker)
            seconds.update(its_seconds)
        return dict(counts), dict(seconds)

    def _welcome(self, name: str, ready: Ready) -> None:
        """Accept a worker that is ready, if its models are those of the others."""
        self._dead_at_start = 0
        if name not in self._at_work:  # it began with an earlier order
            self._idle.add(name)
            return
        self._ready.add(name)
        self._batch_size = ready.batch_size or self._batch_size
        if self._models is None:
            self._models = ready.models
            self.run.use_models(ready.models)
            self.run.record(**ready.facts)
        elif changed := "; ".join(differences(each_only_read(self._models), each_only_read(ready.models))):
            raise MagicError(
                f"{self.setting}: a worker has other model files than the others ({changed}); use the same files everywhere"
            )

    def _accept(self, name: str, delivery: Delivery, dispatcher: Dispatcher) -> BatchResult | None:
        self._done[name] = (delivery.counts, delivery.seconds)
        piece = next(piece for piece in dispatcher.held(name) if piece.batch.number == delivery.result.number)
        return dispatcher.take(name, piece, delivery.result)

    def _bury(self, name: str, death: Death, dispatcher: Dispatcher) -> list[BatchResult]:
        if name in self._ready | self._idle:
            self._ready.discard(name)
            self._idle.discard(name)
            print(f"magic: {name} ended ({death.reason}); another worker writes its batches", file=sys.stderr)
        else:
            self._dead_at_start += 1
            if self._dead_at_start >= (_DEAD_AT_START if self._models is None else _DEAD_LATER):
                raise MagicError(
                    f"{self.setting}: {self._dead_at_start} workers in a row ended before they were ready ({death.reason}); "
                    "is there memory for the models? Try fewer workers, or run.engine=local"
                )
        if death.is_machine:
            dispatcher.give_back(name)
            return []
        return dispatcher.lose(name, self._poisonous)

    def _poisonous(self, batch: Batch) -> BatchResult:
        [item], order = batch.items, self.order
        writer = order.writer(order.settings, order.task, order.folder)
        return BatchResult(batch.number, failures=writer.failures([item], [Unwritable(POISON)], ()))
