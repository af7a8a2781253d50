"""Safe files: written so that no crash leaves half of one, locked so that no crash leaves a lock behind, compared by digest."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from magic_cli.data.json_text import JSONFault, parse_object
from magic_cli.data.paths import LOCK
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
def locked(path: Path, *, setting: str = "run.dir") -> Iterator[None]:
    """Hold a run folder, made if it does not exist, for this process alone; ``setting`` names it.

    Raises:
        MagicError: It cannot be written, or another process holds it.
    """
    with contextlib.ExitStack() as stack:
        try:
            path.mkdir(parents=True, exist_ok=True)
            stack.enter_context(hold(path / LOCK))
        except OSError as error:
            raise MagicError(
                f"{setting}={path}: cannot be written ({error.strerror}); set {setting} to another folder"
            ) from error
        except Busy:
            raise MagicError(
                f"{setting}={path}: another process is working on this run; wait for it, or set another {setting}"
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
    return [record for _, _, record in _recovered(file, remedy)]


def _recovered(file: Path, remedy: str) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """As ``recover_lines``, line by line: where it begins, its bytes, and its record. The end is cut off when all have been read."""
    if not file.exists():
        return
    complete = 0
    with file.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.endswith(b"\n"):
                break
            try:
                record = parse_object(line)
            except JSONFault as fault:
                raise MagicError(f"{file} line {number}: {fault.problem}; {remedy}") from None
            yield complete, len(line), record
            complete += len(line)
        else:
            return
    os.truncate(file, complete)


def recovered_items(file: Path, remedy: str) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """The records of a file of items, each with its ``id``, one by one: where its line begins, the line's bytes, and the record.

    An unfinished line at the end is cut off, once all others have been read.

    Raises:
        MagicError: A line is damaged; gives the remedy.
    """
    for number, found in enumerate(_recovered(file, remedy), start=1):
        if not isinstance(found[2].get("id"), str):
            raise MagicError(f"{file} line {number}: has no id that is a text; {remedy}")
        yield found


def append_lines(file: Path, records: Sequence[Mapping[str, Any]]) -> None:
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


class JsonList:
    """A document that is a list, made and written entry by entry; any other is held in memory as a whole.

    Args:
        entries: Makes the entries; may be called again.
    """

    def __init__(self, entries: Callable[[], Iterable[Any]]) -> None:
        self._entries = entries

    def __iter__(self) -> Iterator[Any]:
        return iter(self._entries())

    def write_to(self, stream: IO[bytes]) -> None:
        """Write what ``json.dumps`` makes of the whole list with ``ensure_ascii=False, indent=1``."""
        before = "["
        for entry in self:
            stream.write(as_bytes(f"{before}\n {_indented(entry, 1)}"))
            before = ","
        stream.write(b"[]\n" if before == "[" else b"\n]\n")


_ENCODE = json.JSONEncoder(ensure_ascii=False).encode


def _indented(value: Any, depth: int) -> str:
    """A value as ``json.dumps`` writes it with ``indent=1``, at some depth; several times as fast, which counts for a million."""
    if not value or not isinstance(value, dict | list):
        return _ENCODE(value)
    indent = " " * (depth + 1)
    if isinstance(value, dict):
        inner = [f"{indent}{_ENCODE(key)}: {_indented(one, depth + 1)}" for key, one in value.items()]
        return "{\n" + ",\n".join(inner) + f"\n{' ' * depth}}}"
    return "[\n" + ",\n".join(f"{indent}{_indented(one, depth + 1)}" for one in value) + f"\n{' ' * depth}]"


def write_document(file: Path, document: Any) -> None:
    """Write a text, a document as JSON, or one that writes itself (``write_to``), as ``write_atomically`` does."""
    if hasattr(document, "write_to"):
        with replacing(file) as stream:
            document.write_to(stream)
    else:
        write_atomically(
            file, document if isinstance(document, str) else json.dumps(document, ensure_ascii=False, indent=1) + "\n"
        )


@contextlib.contextmanager
def replacing(file: Path) -> Iterator[IO[bytes]]:
    """Replace a file atomically, as ``write_atomically``, but written piece by piece; an error leaves the old file."""
    temporary = file.with_name(f".{file.name}.tmp")
    with temporary.open("wb") as stream:
        try:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
            temporary.replace(file)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def as_bytes(text: str) -> bytes:
    """Text as bytes for a file. A file name that is not UTF-8 contains lone surrogates; they become JSON's \\uXXXX escapes."""
    return text.encode("utf-8", errors="backslashreplace")


def json_lines(records: Iterable[Mapping[str, Any]]) -> str:
    """Records as JSON, one per line."""
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def sha256(file: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
