"""The batches of a run, cut from its items when they are asked for: of a million items, nothing is made before its turn."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, overload

from magic_cli.runs.batches import Batch
from magic_cli.runs.kinds import Item


class BatchList(Sequence[Batch]):
    """All batches of a run, or some of them.

    Args:
        items: All of the run's.
        size: Of a batch.
        done: Ids of items whose texts there are, or their predictions by id.
        numbers: Of the batches in question; None: all.
    """

    def __init__(self, items: Sequence[Item], size: int, done: Collection[str], numbers: Sequence[int] | None = None) -> None:
        self._items, self._size, self._done = items, size, done
        self._numbers = range(-(-len(items) // size)) if numbers is None else numbers

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, place: int) -> Batch: ...
    @overload
    def __getitem__(self, place: slice) -> BatchList: ...
    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return BatchList(self._items, self._size, self._done, self._numbers[place])
        number = self._numbers[place]
        items = tuple(self._items[number * self._size : (number + 1) * self._size])
        batch = Batch(number, items, frozenset(item.id for item in items if item.id in self._done))
        return replace(batch, seen=self._seen(batch)) if batch.done and not batch.is_done else batch

    def _seen(self, batch: Batch) -> dict[str, str]:
        """The digests of images in a batch of which something is left to write."""
        if not isinstance(self._done, Mapping):
            return {}
        digests = {name: self._done[name].get("image_sha256") for name in batch.done}
        return {name: digest for name, digest in digests.items() if isinstance(digest, str)}

    def open(self) -> BatchList:
        """Those of which something is left to write."""
        return BatchList(self._items, self._size, self._done, array("Q", (batch.number for batch in self if not batch.is_done)))

    @property
    def num_items(self) -> int:
        """Of all batches of the run."""
        return len(self._items)


class Ids:
    """The ids of each batch's items; can be gone through several times."""

    def __init__(self, batches: BatchList) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[list[str]]:
        for batch in self._batches:
            yield [item.id for item in batch.items]


class Chosen(Sequence[Item]):
    """Some of a run's items, in their order.

    Args:
        items: All of them.
        ids: Of those that are chosen.
    """

    def __init__(self, items: Sequence[Item], ids: Collection[str]) -> None:
        self._items = items
        self._rows = array("Q", (row for row, item in enumerate(items) if item.id in ids))

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self._items[row] for row in self._rows[place]]
        return self._items[self._rows[place]]

    def __iter__(self) -> Iterator[Item]:
        """As a rule all are chosen, and to go through all is faster than to ask for each."""
        rows = iter(self._rows)
        wanted = next(rows, None)
        for row, item in enumerate(self._items):
            if row == wanted:
                yield item
                wanted = next(rows, None)
