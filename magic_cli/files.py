"""Safe files: written so that no crash leaves half of one, locked so that no crash leaves a lock behind, compared by digest."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from magic_cli.data.json_text import JSONFault, parse_object
from magic_cli.errors import MagicError

_LOCK_SECONDS = 0.2


class Busy(Exception):
    """Another process holds a lock."""


@contextlib.contextmanager
def hold(lock: Path, *, tell: Callable[[str], None] | None = None, check: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold a lock file for this process alone. The kernel releases it, however the process ends.

    Args:
        lock: The lock file; created if it does not exist. It contains the number of the process that holds it.
        tell: Called once with that number before waiting for another process; None: do not wait.
        check: Called while waiting; may raise an error to end the wait.

    Raises:
        Busy: Another process holds the lock, and ``tell`` is None.
        OSError: The file cannot be written.
    """
    with lock.open("a+", encoding="ascii") as file:
        is_told = False
        while not _try_lock(file):
            if tell is None:
                raise Busy
            if not is_told:
                file.seek(0)
                tell(file.read() or "?")
                is_told = True
            if check is not None:
                check()
            time.sleep(_LOCK_SECONDS)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Lock a run folder for this process; the folder is created if it does not exist.

    Raises:
        MagicError: It cannot be written, or another process holds it.
    """
    with contextlib.ExitStack() as stack:
        try:
            path.mkdir(parents=True, exist_ok=True)
            stack.enter_context(hold(path / ".lock"))
        except OSError as error:
            raise MagicError(f"run.dir={path}: cannot be written ({error.strerror}); set run.dir to another folder") from error
        except Busy:
            raise MagicError(
                f"run.dir={path}: another process is working on this run; wait for it, or set another run.dir"
            ) from None
        yield


def recover_lines(file: Path, *, remedy: str = "remove that line; its item is then written again") -> list[dict[str, Any]]:
    """Read a JSONL file that may end in the middle of a line, and cut off that unfinished end.

    Args:
        file: The file; a missing file counts as empty.
        remedy: What the user can do about a damaged line.

    Raises:
        MagicError: A line other than the last is damaged.
    """
    if not file.exists():
        return []
    data = file.read_bytes()
    complete = data.rfind(b"\n") + 1
    records: list[dict[str, Any]] = []
    for number, line in enumerate(data[:complete].splitlines(), start=1):
        try:
            records.append(parse_object(line))
        except JSONFault as fault:
            raise MagicError(f"{file} line {number}: {fault.problem}; {remedy}") from None
    if complete < len(data):
        os.truncate(file, complete)
    return records


def recover_items(file: Path, remedy: str) -> list[dict[str, Any]]:
    """The records in a file of items, each with an ``id``; an unfinished line at the end is cut off.

    Raises:
        MagicError: A line is damaged; gives the remedy.
    """
    records = recover_lines(file, remedy=remedy)
    for number, record in enumerate(records, start=1):
        if not isinstance(record.get("id"), str):
            raise MagicError(f"{file} line {number}: has no id that is a text; {remedy}")
    return records


def append_lines(file: Path, records: Sequence[dict[str, Any]]) -> None:
    """Append records as JSON lines in one write, synced to disk."""
    if records:
        append_bytes(file, as_bytes(json_lines(records)))


def append_bytes(file: Path, data: bytes) -> None:
    """Append to a file, synced to disk.

    Raises:
        OSError: Not everything could be written.
    """
    with file.open("ab", buffering=0) as stream:
        while data:  # a disk that is filling up writes a part without an error; writing the rest then fails
            data = data[stream.write(data) :]
        os.fsync(stream.fileno())


def write_atomically(file: Path, content: str | bytes) -> None:
    """Replace a file so that a reader, or a crash, finds either the old or the new one."""
    with replacing(file) as stream:
        stream.write(as_bytes(content) if isinstance(content, str) else content)


@contextlib.contextmanager
def replacing(file: Path) -> Iterator[IO[bytes]]:
    """Replace a file atomically, as ``write_atomically``, but written piece by piece; an error leaves the old file."""
    temporary = file.with_name(f".{file.name}.tmp")
    with temporary.open("wb") as stream:
        try:
            yield stream
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(file)


def as_bytes(text: str) -> bytes:
    """Text as bytes for a file. A file name that is not UTF-8 contains lone surrogates; they become JSON's \\uXXXX escapes."""
    return text.encode("utf-8", errors="backslashreplace")


def json_lines(records: Iterable[dict[str, Any]]) -> str:
    """Records as JSON, one per line."""
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def sha256(file: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
