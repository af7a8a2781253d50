"""Reads a complete folder of features (see store.py) through memory maps: only the rows in use come into memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from magic_cli.data.json_text import JSONFault, parse_object
from magic_cli.errors import MagicError
from magic_cli.files import sha256
from magic_cli.retrieval.store import DTYPES, FAILURES, ITEMS, read_manifest, shard_file

BLOCK_ROWS = 16_384
_SCAN_BYTES = 1 << 24


class Features:
    """N features (N, E) of length 1, and the item that each belongs to.

    Args:
        folder: A complete folder of features.
        setting: The setting that names the folder, for error messages.
        check: Compare every file with its digest; this reads each file once.

    Raises:
        MagicError: The folder does not exist, is not complete, or a file is damaged.
    """

    def __init__(self, folder: Path, setting: str, *, check: bool = True) -> None:
        self.folder = folder
        manifest = read_manifest(folder, setting)
        if manifest is None:
            raise MagicError(f"{setting}={folder}: there is no index; build it first")
        if manifest["status"] != "complete":
            raise MagicError(f"{setting}={folder}: is not complete; start its build again; it goes on where it stopped")
        self.manifest = manifest
        self.rows, self.dim = manifest["rows"], manifest["dim"] or 0
        self._dtype, self._shard_rows = DTYPES[manifest["identity"]["features"]], manifest["identity"]["shard_rows"]
        self._check(check)
        count = -(-self.rows // self._shard_rows)
        self._shards = [np.memmap(shard_file(folder, i), self._dtype, "r").reshape(-1, self.dim) for i in range(count)]
        self._starts: np.ndarray | None = None

    @property
    def digest(self) -> str:
        """SHA-256 over the digests of all files. It ties an approximate index to its features."""
        return hashlib.sha256(json.dumps(self.manifest["files"], sort_keys=True).encode()).hexdigest()

    def _check(self, contents: bool) -> None:
        for name in self.manifest["files"]:
            self._check_file(name, contents)
        for number in range(-(-self.rows // self._shard_rows)):
            file, rows = shard_file(self.folder, number), min(self._shard_rows, self.rows - number * self._shard_rows)
            size = rows * self.dim * self._dtype.itemsize
            if file.stat().st_size != size:
                self._refuse(file, f"is damaged: it has {file.stat().st_size} bytes, and {size} were written")

    def _check_file(self, name: str, contents: bool) -> None:
        file, digest = self.folder / name, self.manifest["files"][name]
        if not file.is_file():
            self._refuse(file, "is missing")
        elif contents and sha256(file) != digest:
            self._refuse(file, f"is damaged: its SHA-256 is not {digest[:12]}...")

    def _refuse(self, file: Path, problem: str) -> None:
        raise MagicError(f"{file}: {problem}; delete {self.folder} and build it again")

    def blocks(self, rows: int = BLOCK_ROWS) -> Iterator[tuple[int, np.ndarray]]:
        """All features in order, as float32 blocks, each with the number of its first row."""
        for number, shard in enumerate(self._shards):
            for start in range(0, len(shard), rows):
                yield number * self._shard_rows + start, shard[start : start + rows].astype(np.float32)

    def take(self, numbers: np.ndarray) -> np.ndarray:
        """The stored features (..., E) of the rows ``numbers`` (...)."""
        taken = np.empty((numbers.size, self.dim), self._dtype)
        shards, places = np.divmod(numbers.ravel(), self._shard_rows)
        for shard in np.unique(shards):
            chosen = shards == shard
            taken[chosen] = self._shards[shard][places[chosen]]
        return taken.reshape(*numbers.shape, self.dim)

    def items(self, numbers: Sequence[int] | np.ndarray) -> list[dict[str, Any]]:
        """The items that rows belong to."""
        if self._starts is None:
            self._starts = line_starts(self.folder / ITEMS)
        found = []
        with (self.folder / ITEMS).open("rb") as stream:
            for number in numbers:
                stream.seek(self._starts[number])
                found.append(self._item(stream.readline(), number))
        return found

    def _item(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            return parse_object(line)
        except JSONFault as fault:
            raise MagicError(
                f"{self.folder / ITEMS} line {number + 1}: {fault.problem}; delete {self.folder} and build it again"
            ) from None

    def failures(self) -> Iterator[dict[str, Any]]:
        """The inputs that have no feature, with the reason.

        Raises:
            MagicError: Their file is damaged.
        """
        self._check_file(FAILURES, contents=True)
        with (self.folder / FAILURES).open(encoding="utf-8") as lines:
            yield from map(parse_object, lines)


def line_starts(file: Path) -> np.ndarray:
    """The position of each line's first byte. Takes 8 bytes of memory per line, however long the lines are."""
    parts, offset = [np.zeros(1, np.int64)], 0
    with file.open("rb") as stream:
        while block := stream.read(_SCAN_BYTES):
            parts.append(np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n")) + offset + 1)
            offset += len(block)
    starts = np.concatenate(parts)
    return starts[starts < offset]
