"""Decides which of several workers writes which batch. Any worker may die at any time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from magic_cli.runs.batches import Batch, BatchResult

AT_ONCE = 2
"""Batches that a worker is given: the images of one are read while another is written."""
_LOSSES = 2
"""After so many lost workers, the items of a batch are written one by one."""
MOST_WAITING = 64
"""Results that may wait for an earlier one; then no new batch is begun."""
_ALONE = 3
"""After so many dead workers that held nothing else, an item counts as a failure."""


@dataclass
class Piece:
    """One order for a worker: a batch, or a single item of a batch that was lost.

    Attributes:
        batch: The batch to write.
        lost: How many workers have died while they held it.
        is_alone: True if it is a single item. A worker that holds it gets nothing else.
    """

    batch: Batch
    lost: int = 0
    is_alone: bool = False


class Dispatcher:
    """Hands out batches, collects results, and hands out again what was lost.

    An item is given up only after it ended three workers that held nothing else. Whatever else a dead worker held goes to
    another worker.

    Args:
        batches: The batches to write. Each is asked for once, when it is its turn: in memory are only those that workers hold or lost.
        in_order: Whether ``release`` keeps their order.
    """

    def __init__(self, batches: Sequence[Batch], *, in_order: bool = False) -> None:
        self._batches, self._in_order = batches, in_order
        self._next = 0
        self._again: deque[Piece] = deque()
        self._alone: deque[Piece] = deque()
        self._held: dict[str, list[Piece]] = {}
        self._parts: dict[int, BatchResult] = {}
        self._open_parts: dict[int, int] = {}
        self._turns: deque[int] = deque()
        self._waiting: dict[int, BatchResult] = {}

    @property
    def size(self) -> int:
        """The number of unfinished pieces."""
        fresh = len(self._batches) - self._next
        return fresh + len(self._again) + len(self._alone) + sum(map(len, self._held.values()))

    def held(self, worker: str) -> list[Piece]:
        """The pieces that a worker holds; at most one piece of each batch."""
        return self._held.setdefault(worker, [])

    def give(self, worker: str) -> Piece | None:
        """The next piece for a worker; None: the worker holds enough, or nothing is left."""
        held = self.held(worker)
        if self._alone:
            piece = None if held else self._alone.popleft()
        elif len(held) >= AT_ONCE or any(piece.is_alone for piece in held):
            piece = None
        else:
            piece = self._again.popleft() if self._again else self._fresh()
        if piece is not None:
            held.append(piece)
        return piece

    def take(self, worker: str, piece: Piece, result: BatchResult) -> BatchResult | None:
        """Accept what a worker has finished; returns the result of the batch if the batch is now complete."""
        self._held[worker].remove(piece)
        return self._gather(piece, result)

    def release(self, result: BatchResult) -> list[BatchResult]:
        """What can be passed on when a batch is complete: its result, or those whose turn has come."""
        if not self._in_order:
            return [result]
        self._waiting[result.number] = result
        released = []
        while self._turns and self._turns[0] in self._waiting:
            released.append(self._waiting.pop(self._turns.popleft()))
        return released

    def lose(self, worker: str, fail: Callable[[Batch], BatchResult]) -> list[BatchResult]:
        """Handle the death of a worker; returns the results of batches that are complete now because their last item failed.

        Args:
            worker: The name of the worker.
            fail: Makes the result of a batch whose only item kills its workers.
        """
        complete = []
        for piece in self._held.pop(worker, []):
            lost = replace(piece, lost=piece.lost + 1)
            if piece.is_alone and lost.lost >= _ALONE:
                complete.append(self._gather(piece, fail(piece.batch)))
            elif piece.is_alone:
                self._alone.append(lost)
            elif lost.lost >= _LOSSES:
                self._split(piece.batch)
            else:
                self._again.appendleft(lost)
        return [result for result in complete if result is not None]

    def give_back(self, worker: str) -> None:
        """Take back the work of a worker that ended for a reason outside its work, such as a machine that went away."""
        for piece in reversed(self._held.pop(worker, [])):
            (self._alone if piece.is_alone else self._again).appendleft(piece)

    def _fresh(self) -> Piece | None:
        """The next batch that nobody has held; None: all have been given, or too many results wait for an earlier one."""
        if self._next == len(self._batches) or len(self._waiting) >= MOST_WAITING:
            return None
        self._next += 1
        batch = self._batches[self._next - 1]
        if self._in_order:
            self._turns.append(batch.number)
        return Piece(batch)

    def _split(self, batch: Batch) -> None:
        items = [item for item in batch.items if item.id not in batch.done]
        self._open_parts[batch.number] = len(items)
        self._parts[batch.number] = BatchResult(batch.number)
        self._alone.extend(Piece(Batch(batch.number, (item,)), is_alone=True) for item in items)

    def _gather(self, piece: Piece, result: BatchResult) -> BatchResult | None:
        if not piece.is_alone:
            return result
        number = piece.batch.number
        whole = self._parts[number]
        whole.predictions += result.predictions
        whole.steps += result.steps
        whole.failures += result.failures
        self._open_parts[number] -= 1
        if self._open_parts[number]:
            return None
        del self._open_parts[number], self._parts[number]
        return whole
