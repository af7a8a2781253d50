"""run.shard=i/n: one of n parts of a data set, written by itself; `magic merge-runs` makes one run of them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from magic_cli.errors import MagicError, SettingsError

MOST_SHARDS = 100_000
_SHARD = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")
_MOST_ROUNDING = 256
T = TypeVar("T")


@dataclass(frozen=True)
class Shard:
    """A part of a data set: neighbours in its order, so that the parts in their order are the whole.

    Attributes:
        number: Which part, 1 to ``count``.
        count: How many parts there are.
    """

    number: int
    count: int

    @classmethod
    def of(cls, text: str) -> Shard:
        """What ``run.shard`` says, such as ``2/8``.

        Raises:
            SettingsError: It is no such text.
        """
        found = _SHARD.fullmatch(text)
        if found is None or not 1 <= int(found[1]) <= int(found[2]) <= MOST_SHARDS:
            raise SettingsError(
                f"run.shard must be PART/PARTS, such as 2/8, with a part of 1 to PARTS and at most {MOST_SHARDS:,} parts, got {text!r}"
            )
        return cls(int(found[1]), int(found[2]))

    @property
    def folder(self) -> str:
        """Name of its run folder, or how that ends."""
        return f"shard-{self.number}-of-{self.count}"

    def cut(self, items: Sequence[T]) -> Sequence[T]:
        """This part of all items; empty, if there are fewer items than parts.

        Where parts are large, they begin at multiples of a power of two: their batches are then those of the whole run.

        >>> [list(Shard(number, 3).cut(range(8))) for number in (1, 2, 3)]
        [[0, 1], [2, 3, 4], [5, 6, 7]]
        """
        return items[self._edge(self.number - 1, len(items)) : self._edge(self.number, len(items))]

    def _edge(self, number: int, total: int) -> int:
        if number == self.count:
            return total
        step = 1
        while 2 * step <= min(_MOST_ROUNDING, total // (self.count * 10)):
            step *= 2
        return total * number // self.count // step * step

    def facts(self, ids: Sequence[str]) -> dict[str, Any]:
        """What the manifest of a part says of it: ``part``, ``parts``, ``items`` of the whole, and the SHA-256 of all their ids.

        Args:
            ids: Of all items of the data set, in its order.
        """
        digest = hashlib.sha256(json.dumps(list(ids)).encode()).hexdigest()
        return {"part": self.number, "parts": self.count, "items": len(ids), "ids_sha256": digest}


def refuse_other_part(folder: Path, before: Mapping[str, Any] | None, shard: str | None) -> None:
    """Leave a folder to the part of the data set that it was begun with.

    Args:
        folder: The run folder.
        before: What its manifest says of the part; None: all of the data set.
        shard: What ``run.shard`` says now.

    Raises:
        MagicError: It is another part, or not all of the data set.
    """
    now = None if shard is None else Shard.of(shard)
    held = None if before is None else Shard(before["part"], before["parts"])
    if now == held:
        return
    what = "all of a data set" if held is None else f"part {held.number} of {held.count} of a data set"
    asked = "all of it" if now is None else f"part {now.number} of {now.count}"
    raise MagicError(f"run.dir={folder}: holds {what}, and {asked} is asked for; set another run.dir")
