"""Files of this machine and, by addresses such as ``s3://bucket/00000.tar``, of whatever fsspec reaches.

A place is a text: the absolute path of a local file, or an address. Nothing is kept open, so that any process can read any place.
"""

from __future__ import annotations

import glob
import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from magic_cli.data.paths import expanded, named_paths, other_kind
from magic_cli.errors import MagicError

_LOCAL = "file://"
_WEB = ("http://", "https://")
_AHEAD = 1 << 20
"""Bytes that are fetched beyond what is asked for, about what a store sends in the time of a round trip: whoever goes through a shard
skips larger images, and needs no request of its own for each smaller one."""
_STATE_KEYS = (
    "mtime",
    "created",
    "ETag",
    "etag",
    "LastModified",
    "last_modified",
    "Last-Modified",
    "generation",
    "md5Hash",
    "Content-MD5",
)
"""Under which file systems tell versions of a file apart."""


def is_address(place: str) -> bool:
    """Whether a text is an address and no path of this machine.

    >>> [is_address(text) for text in ("s3://bucket/a.tar", "/data/a.tar", "file:///data/a.tar")]
    [True, False, False]
    """
    return "://" in place and not place.startswith(_LOCAL)


def local(place: str) -> str:
    """A place without the ``file://`` that paths of this machine may begin with."""
    return place.removeprefix(_LOCAL)


def name_of(place: str) -> str:
    """The file name at the end of a place, without the query of a web address.

    >>> [name_of(place) for place in ("https://host/a.tar?signature=b/c", "s3://bucket/b.tar", "/data/c?.tar")]
    ['a.tar', 'b.tar', 'c?.tar']
    """
    return _without_query(place).rpartition("/")[2]


def _without_query(place: str) -> str:
    return place.partition("?")[0] if place.startswith(_WEB) else place


def places(word: str, suffix: str, *, setting: str, hint: str) -> list[str]:
    """The files that a path, a pattern, a folder or an address names, sorted.

    Args:
        word: As the user typed it.
        suffix: Of the files of a folder that count, such as ``.tar``.
        setting: What the user calls it.
        hint: What to do if there is none.

    Raises:
        MagicError: It names nothing, or cannot be looked at.
    """
    word = local(word)
    found = _remote_places(word, suffix, setting) if is_address(word) else _local_places(word, suffix, setting)
    if not found:
        place = "" if is_address(word) else str(expanded(word, setting).absolute())
        problem = f"no such file{place and f' (looked at {place})'}"
        if os.path.isdir(place):
            problem = f"holds no {suffix} file" if os.access(place, os.R_OK) else "cannot be read (mend its permissions)"
        raise MagicError(f"{setting}={word}: {problem}; {hint}")
    return found


def _local_places(word: str, suffix: str, setting: str) -> list[str]:
    found = []
    for path in named_paths(word, setting=setting):
        path = path.absolute()
        found += sorted(path.glob(f"*{suffix}")) if path.is_dir() else [path]
    return [str(path) for path in found]


def _remote_places(word: str, suffix: str, setting: str) -> list[str]:
    system, path = _file_system(word, setting)
    try:
        if _is_pattern(word, path):
            found = system.glob(path)
        elif not (word.startswith(_WEB) and name_of(word).endswith(suffix)) and system.isdir(path):  # the web would send the file
            found = system.glob(f"{path.rstrip('/')}/*{suffix}")
        else:
            found = [path] if system.exists(path) else []
        return sorted(system.unstrip_protocol(one) for one in found)
    except Exception as error:  # each file system has errors of its own
        raise MagicError(f"{setting}={word}: cannot be looked at ({_said(error)}); check address, network and access") from error


def _is_pattern(word: str, path: str) -> bool:
    """Whether a path of a file system is a pattern; in a web address ``?`` begins a query, and ``[`` may be of the host."""
    if not word.startswith(_WEB):
        return glob.has_magic(path)
    return any(sign in _without_query(word).split("/", 3)[-1] for sign in "*[")


def _file_system(place: str, setting: str = "") -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    named = f"{setting}={place}" if setting else place
    try:
        return url_to_fs(place)
    except ImportError as error:
        raise MagicError(f"{named}: needs a package that is not installed ({_said(error)}); pip install it") from error
    except Exception as error:  # each file system has errors of its own
        raise MagicError(f"{named}: cannot be reached ({_said(error)}); correct the address") from error


def _said(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:200]


def open_place(place: str) -> BinaryIO:
    """A file for reading, with ``seek``.

    Raises:
        OSError: It cannot be opened, whatever the reason.
        MagicError: Its file system is not known here.
    """
    if not is_address(place):
        if (kind := other_kind(Path(place))) is not None:
            raise OSError(f"is a {kind}, not a file")
        return open(place, "rb")
    system, path = _file_system(place)
    with _as_os_errors():
        return _RemoteStream(system.open(path, "rb", block_size=_AHEAD))


class _RemoteStream(io.RawIOBase):
    """A file behind an address, open for reading: whatever goes wrong is an OSError.

    Args:
        stream: The file system's own.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        with _as_os_errors():
            return self._stream.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        with _as_os_errors():
            return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def close(self) -> None:
        self._stream.close()
        super().close()


@contextmanager
def _as_os_errors() -> Iterator[None]:
    try:
        yield
    except OSError:
        raise
    except Exception as error:  # each file system has errors of its own
        raise OSError(_said(error)) from error


def read_place(place: str, offset: int = 0, size: int | None = None) -> bytes:
    """A part of a file, less where the file ends before; ``size`` None: up to the end.

    Raises:
        OSError: It cannot be read, whatever the reason.
        MagicError: Its file system is not known here.
    """
    if not is_address(place):
        with open(place, "rb") as stream:
            stream.seek(offset)
            return stream.read() if size is None else stream.read(size)
    system, path = _file_system(place)
    with _as_os_errors():
        return system.cat_file(path, start=offset, end=None if size is None else offset + size)


def size_of(place: str) -> int:
    """Bytes of a file.

    Raises:
        OSError: As ``read_place``.
    """
    size = os.stat(place).st_size if not is_address(place) else _info(place)["size"]
    if size is None:
        raise OSError("its server does not tell its size; copy the file to this machine")
    return size


def state_of(place: str) -> str | None:
    """Equal for two looks at a file only if it is the same; None: its file system does not tell versions apart.

    Raises:
        OSError: As ``read_place``.
    """
    if not is_address(place):
        found = os.stat(place)
        return f"{found.st_size} {found.st_mtime_ns}"
    info = _info(place)
    known = {key: str(info[key]) for key in _STATE_KEYS if info.get(key)}
    return json.dumps({"size": info.get("size"), **known}, sort_keys=True) if known else None


def _info(place: str) -> dict[str, Any]:
    system, path = _file_system(place)
    with _as_os_errors():
        return system.info(path)


def reason(error: OSError) -> str:
    """Why a place cannot be read, for a message."""
    return error.strerror or _said(error)
