"""predictions.jsonl of a run folder as a mapping: of each line, memory holds the id and the place, about 200 bytes, and no more."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from magic_cli.errors import MagicError
from magic_cli.files import append_lines, as_bytes, json_lines, recovered_items, replacing

_REMOVE_LINE = "remove that line, its item is then done again"
_SIZE_BITS = 32


class Predictions(Mapping[str, dict[str, Any]]):
    """The records of the file by their ids, in the file's order, read when they are asked for.

    Args:
        file: The file; it need not be there.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._places: dict[str, int] = {}  # where a line begins, and its bytes, in one number
        self._open: int | None = None

    def read(self) -> None:
        """Look through the file; an unfinished line at its end is cut off.

        Raises:
            MagicError: A line is damaged, or an id stands twice; names the line.
        """
        self._begin()
        for number, (offset, size, record) in enumerate(recovered_items(self._file, _REMOVE_LINE), start=1):
            if record["id"] in self._places:
                raise MagicError(
                    f"{self._file} line {number}: the id {record['id']!r} stands here twice; remove one of the lines"
                )
            self._places[record["id"]] = _place(offset, size)

    def append(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Write records behind those that there are; when this returns they survive any crash."""
        offset = self._file.stat().st_size if self._file.exists() else 0
        append_lines(self._file, records)
        for record in records:
            size = len(as_bytes(json_lines([record])))
            self._places[record["id"]] = _place(offset, size)
            offset += size

    def keep(self, ids: Iterable[str]) -> None:
        """Write the file anew with these records alone, in this order."""
        self._rewrite((item, self._line(item)) for item in ids)

    def replace(self, records: Mapping[str, Mapping[str, Any]]) -> None:
        """Write the file anew with other records in the places of those of the same ids."""
        self._rewrite(
            (item, as_bytes(json_lines([records[item]])) if item in records else self._line(item)) for item in self._places
        )

    def without(self, ids: Collection[str]) -> Iterator[str]:
        """The ids of all records but these."""
        return (item for item in self._places if item not in ids)

    def close(self) -> None:
        """Let go of the file."""
        if self._open is not None:
            os.close(self._open)
            self._open = None

    def __getitem__(self, item: str) -> dict[str, Any]:
        return json.loads(self._line(item))  # was parsed with care when the file was looked through, or is our own

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, item: object) -> bool:
        return item in self._places

    def _line(self, item: str) -> bytes:
        place = self._places[item]
        if self._open is None:
            self._open = os.open(self._file, os.O_RDONLY | os.O_CLOEXEC)
        return os.pread(self._open, place & ((1 << _SIZE_BITS) - 1), place >> _SIZE_BITS)

    def _rewrite(self, lines: Iterable[tuple[str, bytes]]) -> None:
        places: dict[str, int] = {}
        offset = 0
        with replacing(self._file) as stream:
            for item, line in lines:
                stream.write(line)
                places[item] = _place(offset, len(line))
                offset += len(line)
        self._begin()
        self._places = places

    def _begin(self) -> None:
        self.close()
        self._places = {}


def _place(offset: int, size: int) -> int:
    return offset << _SIZE_BITS | size


def follows(some: Iterable[str], all_ids: Iterable[str]) -> bool:
    """Whether some ids stand among others, in the same order.

    >>> follows("ac", "abc"), follows("ca", "abc"), follows("ad", "abc")
    (True, False, False)
    """
    rest = iter(all_ids)
    return all(any(item == other for other in rest) for item in some)
