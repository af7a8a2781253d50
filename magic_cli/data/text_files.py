"""Reads text files: plain or gzipped, UTF-8, or UTF-16 and UTF-32 with a mark. Says what a file is if it is not text."""

from __future__ import annotations

import codecs
import contextlib
import errno
import gzip
import io
import os
import re
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path

from magic_cli.data.addresses import read_place, reason, require_file_systems, size_of
from magic_cli.data.paths import expanded
from magic_cli.data.place_names import is_address, local, name_of
from magic_cli.errors import MagicError

LARGEST_FILE = 4 << 30
"""The largest text file that is read, in bytes, unpacked: 4 GB."""

_GZIP = b"\x1f\x8b"
_PIECE = 16 << 20
_MARKS = (  # UTF-32 before UTF-16, whose mark begins in the same way
    (codecs.BOM_UTF32_LE, "UTF-32"), (codecs.BOM_UTF32_BE, "UTF-32"), (codecs.BOM_UTF16_LE, "UTF-16"), (codecs.BOM_UTF16_BE, "UTF-16"),
)  # fmt: skip
_KINDS = (
    (b"PK\x03\x04", "a zip archive or an Excel workbook: unpack it, or export it as CSV"),
    (b"BZh", "a bzip2 archive: unpack it"),
    (b"\xfd7zXZ", "an xz archive: unpack it"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive: unpack it"),
    (b"PAR1", "a Parquet file: export it as CSV or JSON lines, or name the run folder if it belongs to a run"),
    (b"%PDF", "a PDF: export its text"),
    (b"\x89PNG", "an image"),
    (b"\xff\xd8\xff", "an image"),
)
_OPEN_PIPES = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")
_LONE = re.compile(r"\r(?!\n)")
_HIGH_BYTES = re.compile(rb"[\x80-\xff]+")


def read_text(path: Path | str, *, setting: str, hint: str) -> str:
    """The text of a file; ``.gz`` is unpacked.

    Args:
        path: The file; a text may be an address.
        setting: The setting that names the file, for error messages; "": the message begins with the path.
        hint: The remedy if the file does not exist or cannot be read.

    Raises:
        MagicError: The file is missing, too large or not text; names the setting, the place and the remedy.
    """
    return decoded(read_bytes(path, setting=setting, hint=hint), named(setting, path))


def text_lines(text: str) -> Iterator[tuple[int, str]]:
    """The non-blank lines with their numbers, one at a time. ``splitlines()`` would also cut at U+2028 inside a caption."""
    start, number = 0, 1
    while start < len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        line = text[start:end]
        if line and not line.isspace():
            yield number, line
        start, number = end + 1, number + 1


def named(setting: str, path: Path | str) -> str:
    """A file's name in error messages."""
    return f"{setting}={path}" if setting else str(path)


def read_bytes(path: Path | str, *, setting: str, hint: str) -> bytes:
    """The bytes of a regular file, of a pipe that the shell has opened (``<(...)``), or behind an address; gzip is unpacked.

    Raises:
        MagicError: It is missing, a folder, a device, too large, damaged, or not readable.
    """
    place = named(setting, path)
    if isinstance(path, str):
        if is_address(path := local(path)):
            return _away(path, setting, hint)
        path = Path(path)
    with _faults(path, place, hint):
        path = expanded(path)
        _refuse_endless(path, place, hint)
        with path.open("rb") as stream:
            data = _limited(stream, place)
        return _unpacked(data, place) if data.startswith(_GZIP) else data


def _away(address: str, setting: str, hint: str) -> bytes:
    place = named(setting, address)
    require_file_systems([address], setting=setting)
    try:
        with contextlib.suppress(OSError):  # where its server does not tell the size, it is seen when the file is there
            _refuse_large(size_of(address), place)
        data = read_place(address)
    except FileNotFoundError:
        raise MagicError(f"{place}: no such file; {hint}") from None
    except OSError as error:
        raise MagicError(f"{place}: cannot be read ({reason(error)}); check address, network and access") from error
    with _faults(Path(name_of(address)), place, hint):
        return _unpacked(data, place)


def _unpacked(data: bytes, place: str) -> bytes:
    stream = io.BytesIO(data)
    return _limited(gzip.GzipFile(fileobj=stream) if data.startswith(_GZIP) else stream, place)


def byte_lines(path: Path, *, setting: str, hint: str) -> Iterator[bytes]:
    """The lines of such a file one by one, however large it is, with their line breaks.

    Raises:
        MagicError: As ``read_bytes``.
    """
    place = named(setting, path)
    with _faults(path, place, hint):
        file = expanded(path)
        _refuse_endless(file, place, hint)
        opened = file.open("rb")
    with opened as stream:
        with _faults(path, place, hint):
            lines = gzip.GzipFile(fileobj=stream) if stream.peek(len(_GZIP)).startswith(_GZIP) else stream
        while True:
            with _faults(path, place, hint):
                some = lines.readlines(_PIECE)
            if not some:
                return
            yield from some


@contextlib.contextmanager
def _faults(path: Path, place: str, hint: str) -> Iterator[None]:
    """What goes wrong while a file is read, as one line."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, RuntimeError, ValueError):  # of ~nobody, and of a path with a NUL
        raise MagicError(f"{place}: no such file (looked at {os.path.abspath(os.path.expanduser(path))}); {hint}") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise MagicError(
            f"{place}: cannot be read, its gzip data is damaged or cut off ({error}); copy or download it again"
        ) from error
    except OSError as error:
        reason = "permission denied: chmod +r it" if error.errno in (errno.EACCES, errno.EPERM) else error.strerror or error
        raise MagicError(f"{place}: cannot be read ({reason}); {hint}") from error


def _refuse_endless(path: Path, place: str, hint: str) -> None:
    """Refuse a named pipe that nobody writes to, and a device like /dev/zero: reading them would never end."""
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise MagicError(f"{place}: is a folder, not a file; {hint}")
    if not stat.S_ISREG(mode) and not (stat.S_ISFIFO(mode) and str(path).startswith(_OPEN_PIPES)):
        raise MagicError(f"{place}: is a pipe or a device, not a file; write what comes from it into a file, and name that")


def _limited(stream: io.BufferedIOBase, place: str) -> bytes:
    pieces, size = [], 0
    while piece := stream.read(_PIECE):
        pieces.append(piece)
        size += len(piece)
        _refuse_large(size, place)
    return b"".join(pieces) if len(pieces) != 1 else pieces[0]


def _refuse_large(size: int, place: str) -> None:
    if size > LARGEST_FILE:
        raise MagicError(f"{place}: holds more than {LARGEST_FILE >> 20} MB of text; split it")


def decoded(data: bytes, place: str) -> str:
    """The text of bytes: UTF-8 with or without a byte-order mark, UTF-16 and UTF-32 with one.

    If its first line ends with a carriage return alone, and there are more of them than line feeds, they end its lines.

    Args:
        data: The bytes.
        place: Where they come from, for error messages.

    Raises:
        MagicError: They are in another encoding, or not text; says which, as far as it can be told, and the line.
    """
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8-sig")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise MagicError(f"{place}{_problem(data, encoding, error)}") from error
    if "\0" in text:
        raise MagicError(f"{place}{_nul_problem(data)}")
    return _LONE.sub("\n", text) if _ends_lines_with_returns(text) else text


def _ends_lines_with_returns(text: str) -> bool:
    """Whether carriage returns alone end the lines, as some spreadsheets on a Mac write; a cell may hold a line feed, or the end."""
    first = _LONE.search(text)
    if first is None or text.find("\n", 0, first.start()) >= 0:
        return False
    return text.count("\r") - text.count("\r\n") > text.count("\n")


def _problem(data: bytes, encoding: str, error: UnicodeDecodeError) -> str:
    kind = next((kind for start, kind in _KINDS if data.startswith(start)), None)
    if kind:
        return f": is not text but {kind}"
    if encoding != "utf-8-sig":
        return f": its first bytes say {encoding}, but it is not ({error.reason} at byte {error.start}); save it as UTF-8"
    if b"\0" in data:
        return _nul_problem(data)
    line = data.count(b"\n", 0, error.start) + 1
    if error.reason == "unexpected end of data":
        return f" line {line}: the file ends in the middle of a letter, so it is cut off; copy or download it again"
    runs = [len(run) for run in _HIGH_BYTES.findall(data)]
    is_western = 2 * runs.count(1) >= len(runs)  # in other encodings, a letter has two high bytes or more
    remedy = (
        "it looks like Latin-1 (Windows-1252): save it as UTF-8, as iconv -f WINDOWS-1252 -t UTF-8 does"
        if is_western
        else "save it as UTF-8"
    )
    return f" line {line}: byte 0x{data[error.start]:02x} is not UTF-8; {remedy}"


def _nul_problem(data: bytes) -> str:
    """What a text with NUL bytes is: UTF-16 without its mark has one beside every ASCII letter."""
    kind = next((kind for start, kind in _KINDS if data.startswith(start)), None)
    if kind:
        return f": is not text but {kind}"
    even, odd = (data[first::2].count(0) for first in (0, 1))
    if 3 * max(even, odd) > len(data) // 2 and min(even, odd) * 10 < max(even, odd):
        name = "UTF-16LE" if odd > even else "UTF-16BE"
        return f": looks like {name} without its mark; save it as UTF-8, as iconv -f {name} -t UTF-8 does"
    line = data.count(b"\n", 0, data.index(0)) + 1
    return f" line {line}: holds a NUL byte, so it is damaged or no text; export or copy it again"
