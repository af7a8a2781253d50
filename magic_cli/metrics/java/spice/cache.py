"""What SPICE has parsed and scored before, kept between calls.

Two stores in one folder: SPICE's own cache of parses (LMDB, which only SPICE writes and reads), and an SQLite file
with the counts of every scored pair of a caption and its references, so that scoring the same files again needs no
Java. Both are checked when used: LMDB itself would read a damaged file without notice, or crash the JVM.
"""

from __future__ import annotations

import hashlib
import logging
import sqlite3
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path

import numpy as np

from magic_cli.files import hold
from magic_cli.metrics.java.process import num_kills
from magic_cli.metrics.java.runtime import JavaFailed
from magic_cli.metrics.java.spice.counts import COUNTS_SHAPE

log = logging.getLogger(__name__)

Pair = tuple[str, tuple[str, ...]]
"""A caption and its references, tokenized."""

_FORMAT = 1
_TABLES = (
    "CREATE TABLE IF NOT EXISTS parses (id INTEGER PRIMARY KEY CHECK (id = 0), digest BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS parsed (caption BLOB PRIMARY KEY) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS scores (pair BLOB PRIMARY KEY, counts BLOB NOT NULL, checksum INTEGER NOT NULL) WITHOUT ROWID",
)
_AT_ONCE = 500


class CacheUnusable(Exception):
    """Why a cache cannot be used; SPICE runs without it.

    Attributes:
        everywhere: Whether no other folder would do either.
    """

    def __init__(self, reason: str, *, everywhere: bool = False) -> None:
        super().__init__(reason)
        self.everywhere = everywhere


class SpiceCache:
    """An open cache; made by ``open_cache``.

    Attributes:
        folder: Holds SPICE's ``data.mdb``, to be given to SPICE as ``-cache``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._parses, self._index = folder / "data.mdb", folder / "index.sqlite"
        try:
            self._open_index()
        except sqlite3.DatabaseError as error:
            self._start_anew(error)

    def known_counts(self, pairs: Sequence[Pair]) -> dict[Pair, np.ndarray]:
        """Counts, of ``COUNTS_SHAPE``, of those pairs that were scored before. Raises CacheUnusable."""
        with _unusable_if_it_fails():
            try:
                return self._read_counts(pairs)
            except sqlite3.DatabaseError as error:
                self._start_anew(error)
                return {}

    def unparsed(self, captions: Sequence[str]) -> list[str]:
        """Those of distinct captions that SPICE has not parsed yet, after a check of its file. Raises CacheUnusable."""
        with _unusable_if_it_fails():
            (self.folder / "lock.mdb").unlink(missing_ok=True)  # lists LMDB's readers; we hold the lock, so there are none
            try:
                return self._read_unparsed(captions)
            except sqlite3.DatabaseError as error:
                self._start_anew(error)
                return list(captions)

    def keep(self, counts: Mapping[Pair, np.ndarray], parsed: Sequence[str]) -> None:
        """Remember new counts, and which captions SPICE has parsed; to be called whenever SPICE has run, with success or not.

        Where this fails there is a warning: the call itself needs no cache any more.
        """
        rows = []
        for (caption, references), value in counts.items():
            key, blob = _key("\n".join((caption, *references))), value.astype("<i4").tobytes()
            rows.append((key, blob, zlib.crc32(key + blob)))
        try:
            with self._database:
                self._database.executemany("INSERT OR REPLACE INTO scores VALUES (?, ?, ?)", rows)
                self._database.executemany("INSERT OR IGNORE INTO parsed VALUES (?)", [(_key(caption),) for caption in parsed])
                self._database.execute("DELETE FROM parses")
                if digest := self._digest():
                    self._database.execute("INSERT INTO parses VALUES (0, ?)", digest)
        except (sqlite3.Error, OSError) as error:
            log.warning("SPICE: what it found is not kept: %s: %s", self.folder, error)

    def forget_parses(self) -> None:
        """Remove SPICE's own file, so that everything is parsed anew. Raises CacheUnusable."""
        with _unusable_if_it_fails():
            self._parses.unlink(missing_ok=True)
            with self._database:
                self._database.execute("DELETE FROM parsed")
                self._database.execute("DELETE FROM parses")

    def close(self) -> None:
        """Close the files."""
        self._database.close()

    def _open_index(self) -> None:
        self._database = sqlite3.connect(self._index, timeout=0)
        (version,) = self._database.execute("PRAGMA user_version").fetchone()
        if version not in (0, _FORMAT):
            raise sqlite3.DatabaseError(f"its format is {version}")
        with self._database:
            for table in _TABLES:
                self._database.execute(table)
            self._database.execute(f"PRAGMA user_version = {_FORMAT}")

    def _start_anew(self, problem: sqlite3.DatabaseError) -> None:
        if isinstance(problem, sqlite3.OperationalError):
            raise problem  # the disk fails, not the file
        log.warning("SPICE: its cache %s is damaged (%s); a new one is made", self.folder, problem)
        self.close()
        for file in (self._parses, self._index):  # without the index nothing vouches for the parses
            file.unlink(missing_ok=True)
        self._open_index()

    def _read_counts(self, pairs: Sequence[Pair]) -> dict[Pair, np.ndarray]:
        keys = {_key("\n".join((caption, *references))): (caption, references) for caption, references in pairs}
        rows = list(self._select("SELECT pair, counts, checksum FROM scores WHERE pair", list(keys)))
        if any(zlib.crc32(key + blob) != checksum for key, blob, checksum in rows):
            raise sqlite3.DatabaseError("a checksum is wrong")
        counts = np.frombuffer(b"".join(blob for _, blob, _ in rows), dtype="<i4").astype(np.int64).reshape(-1, *COUNTS_SHAPE)
        return {keys[key]: counts[i] for i, (key, _, _) in enumerate(rows)}

    def _read_unparsed(self, captions: Sequence[str]) -> list[str]:
        if self._database.execute("SELECT digest FROM parses").fetchone() != self._digest():
            if self._parses.exists():
                log.warning("SPICE: its cache %s is damaged or was not closed; its parses are made anew", self.folder)
            self.forget_parses()
        keys = {_key(caption): caption for caption in captions}
        for (key,) in self._select("SELECT caption FROM parsed WHERE caption", list(keys)):
            del keys[key]
        return list(keys.values())

    def _digest(self) -> tuple[bytes] | None:
        if not self._parses.exists():
            return None
        with self._parses.open("rb") as file:
            return (hashlib.file_digest(file, "sha256").digest(),)

    def _select(self, query: str, keys: Sequence[bytes]) -> Iterator[tuple[bytes, ...]]:
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            yield from self._database.execute(f"{query} IN ({','.join('?' * len(some))})", some).fetchall()


@contextmanager
def open_cache(folder: Path, *, deadline: float) -> Iterator[SpiceCache]:
    """Open the cache for this process alone; another waits until it is closed.

    Waiting costs less than running beside each other: the other process most likely parses the same references, with
    all cores, in gigabytes of memory.

    Args:
        folder: Made if it is not there; one that is damaged is emptied, with a warning.
        deadline: ``time.monotonic()`` at which to give up.

    Raises:
        CacheUnusable: It cannot be read and written.
        JavaFailed: It was still in use at the deadline, or ``kill_all`` was called.
    """
    with ExitStack() as stack:
        with _unusable_if_it_fails():
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(_lock(folder, deadline))
            cache = stack.enter_context(closing(SpiceCache(folder)))
        yield cache


@contextmanager
def _unusable_if_it_fails() -> Iterator[None]:
    """Raises CacheUnusable where the disk does not do what it should."""
    try:
        yield
    except OSError as error:
        raise CacheUnusable(error.strerror or str(error)) from error
    except sqlite3.Error as error:
        raise CacheUnusable(str(error)) from error


def _lock(folder: Path, deadline: float) -> AbstractContextManager[None]:
    num_kills_before, began = num_kills(), time.monotonic()

    def check() -> None:
        if num_kills() > num_kills_before:
            raise JavaFailed("SPICE: stopped")
        if time.monotonic() > deadline:
            waited = time.monotonic() - began
            remedy = "wait for it, or raise metrics.spice.timeout, or set metrics.spice.keep_cache=false"
            raise JavaFailed(f"SPICE: its cache {folder} was in use by another process for {waited:.0f} seconds; {remedy}")

    return hold(
        folder / "lock",
        tell=lambda process: log.warning("SPICE: waiting for process %s, which uses its cache %s", process, folder),
        check=check,
    )


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).digest()[:16]
