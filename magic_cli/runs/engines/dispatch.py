"""Who writes which batch where several workers write side by side, any of which may die at any time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from magic_cli.runs.batches import Batch, BatchResult

AT_ONCE = 2
"""Batches that a worker is given: the images of one are read while another is written."""
_LOSSES = 2
"""So often is a batch lost with its worker before its items are written one by one."""
_ALONE = 3
"""So many workers must die over an item that was all they had before it is a failure."""


@dataclass
class Piece:
    """What a worker is given: a batch, or one item of a batch that was lost.

    Attributes:
        batch: What is to be written.
        lost: Workers that died while they had it.
        is_alone: It is one item, and whoever has it has nothing else.
    """

    batch: Batch
    lost: int = 0
    is_alone: bool = False


class Dispatcher:
    """Hands out batches, takes results, and does again what was lost.

    An item counts as poisonous only if it ends three workers that had nothing else to do. What was merely in flight when
    a worker died is written by another.

    Args:
        batches: What is to be written.
    """

    def __init__(self, batches: Sequence[Batch]) -> None:
        self._waiting = deque(Piece(batch) for batch in batches)
        self._alone: deque[Piece] = deque()
        self._held: dict[str, list[Piece]] = {}
        self._parts: dict[int, BatchResult] = {}
        self._open_parts: dict[int, int] = {}

    @property
    def size(self) -> int:
        """Pieces that are not finished."""
        return len(self._waiting) + len(self._alone) + sum(map(len, self._held.values()))

    def held(self, worker: str) -> list[Piece]:
        """What a worker has; of one batch at most one piece."""
        return self._held.setdefault(worker, [])

    def give(self, worker: str) -> Piece | None:
        """The next piece for a worker; None: it has enough, or there is nothing."""
        held = self.held(worker)
        if self._alone:
            piece = None if held else self._alone.popleft()
        elif len(held) >= AT_ONCE or any(piece.is_alone for piece in held) or not self._waiting:
            piece = None
        else:
            piece = self._waiting.popleft()
        if piece is not None:
            held.append(piece)
        return piece

    def take(self, worker: str, piece: Piece, result: BatchResult) -> BatchResult | None:
        """What a worker has finished; returns the batch's result when all of it is there."""
        self._held[worker].remove(piece)
        return self._gather(piece, result)

    def lose(self, worker: str, fail: Callable[[Batch], BatchResult]) -> list[BatchResult]:
        """A worker has died; returns the results of batches that are complete now, since their last item is a failure.

        Args:
            worker: Which.
            fail: Makes the result of a batch whose only item ends its workers.
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
                self._waiting.appendleft(lost)
        return [result for result in complete if result is not None]

    def give_back(self, worker: str) -> None:
        """A worker has gone for reasons that cannot lie in what it had, such as the end of its machine."""
        for piece in reversed(self._held.pop(worker, [])):
            (self._alone if piece.is_alone else self._waiting).appendleft(piece)

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
        return whole if self._open_parts[number] == 0 else None
