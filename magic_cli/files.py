"""Files that no crash leaves half-written: append, replace, recover; and the lock of a run folder."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from magic_cli.data.json_text import JSONFault, parse_object
from magic_cli.errors import MagicError


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a run folder, made if it does not exist, for this process alone.

    Raises:
        MagicError: It cannot be written, or another process holds it.
    """
    with contextlib.ExitStack() as stack:
        try:
            path.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context((path / ".lock").open("w"))
        except OSError as error:
            raise MagicError(f"run.dir={path}: cannot be written ({error.strerror}); set run.dir to another folder") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel lets go of it however we die
        except BlockingIOError:
            raise MagicError(f"run.dir={path}: another process is working on this run; wait for it, or set another run.dir") from None
        yield


def recover_lines(file: Path, *, remedy: str = "remove that line, its item is then done again") -> list[dict[str, Any]]:
    """Read a JSONL file that may end mid-line, and cut that unfinished end off.

    Args:
        file: The file; one that is not there is empty.
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


def append_lines(file: Path, records: Sequence[dict[str, Any]]) -> None:
    """Append records as JSON lines in one write, synced to disk."""
    if records:
        append_bytes(file, json_lines(records).encode(errors="backslashreplace"))  # see write_atomically


def append_bytes(file: Path, data: bytes) -> None:
    """Append to a file, synced to disk.

    Raises:
        OSError: Not all of it could be written.
    """
    with file.open("ab", buffering=0) as stream:
        while data:  # a disk that is filling up takes a part and says nothing; asked for the rest, it does
            data = data[stream.write(data) :]
        os.fsync(stream.fileno())


def write_atomically(file: Path, content: str | bytes) -> None:
    """Replace a file so that a reader, or a crash, sees either the old or the new one."""
    temporary = file.with_name(f".{file.name}.tmp")
    # a file name that is no UTF-8 holds lone surrogates; backslashreplace writes them as JSON's own \uXXXX escapes
    data = content.encode("utf-8", errors="backslashreplace") if isinstance(content, str) else content
    with temporary.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(file)


def json_lines(records: Iterable[dict[str, Any]]) -> str:
    """Records as JSON, one a line."""
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
