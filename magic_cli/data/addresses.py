"""Reads files of this machine and, by addresses such as ``s3://bucket/00000.tar``, of whatever fsspec reaches.

Nothing is kept open, so that any process can read any place.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from magic_cli.data.paths import other_kind
from magic_cli.data.place_names import WEB, is_address, lowered
from magic_cli.errors import MagicError

_USUAL = ("https://", "s3://", "gs://", "az://", "hf://", "sftp://")
"""Kinds of addresses that are named where one is not known; there are fifty."""
_SILENCE = 60.0
"""Seconds that a server of the web may send nothing. The other file systems have limits of their own."""
_LONGEST = 3600.0
"""Seconds that an answer of it may take as a whole, however slowly it comes."""
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


def named_place(word: str, setting: str) -> str:
    """A place in error messages, with the setting that names it, if one does."""
    return f"{setting}={word}" if setting else word


def require_file_systems(addresses: Iterable[str], *, setting: str) -> None:
    """Refuse addresses of kinds that nothing here can read, before any is read; the network is not asked.

    Args:
        addresses: Of images.
        setting: What the user calls them.

    Raises:
        MagicError: Names the first such address, and the package that is missing.
    """
    seen: set[str] = set()
    for address in addresses:
        *links, last = [place] if (place := lowered(address)).startswith(WEB) else place.split("::")
        for link in (*links, last if "://" in last else "file://"):  # the last link of a chain may be a path
            kind, mark, _ = link.partition("://")
            if kind not in seen and (mark or kind.isalpha()):
                seen.add(kind)
                _require_kind(kind, named_place(address, setting))


def _require_kind(kind: str, named: str) -> None:
    from fsspec import available_protocols, get_filesystem_class

    if kind not in (known := available_protocols()):
        close = get_close_matches(kind, known, n=1)
        meant = f"did you mean {close[0]}://?" if close else f"known are {', '.join(_USUAL)} and others of fsspec."
        raise MagicError(
            f"{named}: {kind}:// is no known kind of address; {meant} If a package for fsspec brings {kind}://, pip install that"
        )
    with _knowing(named):
        get_filesystem_class(kind)


def file_system(place: str, setting: str = "") -> tuple[Any, str]:
    """The file system of fsspec behind an address, and the path there.

    Raises:
        MagicError: It is not known here.
    """
    from fsspec.core import url_to_fs

    require_file_systems([place], setting=setting)
    address = lowered(place)
    if not address.startswith(WEB) and "://" not in (last := address.split("::")[-1]):
        address = f"{address.removesuffix(last)}file://{last}"  # fsspec takes a name that is one word for a kind of address
    with _knowing(named_place(place, setting)):
        return url_to_fs(address, **_limits(address))


def _limits(place: str) -> dict[str, Any]:
    """How long to wait for a server of the web, unless the user's configuration of fsspec says it."""
    from fsspec.config import conf

    is_set = any("client_kwargs" in conf.get(kind, {}) for kind in ("http", "https"))
    kinds = {link.partition("://")[0] for link in place.split("::") if link.startswith(WEB)}  # also in a chain
    if not kinds or is_set or find_spec("aiohttp") is None:  # without it, fsspec says what to install
        return {}
    from aiohttp import ClientTimeout

    timeout = ClientTimeout(total=_LONGEST, sock_connect=_SILENCE, sock_read=_SILENCE)
    return {kind: {"client_kwargs": {"timeout": timeout}} for kind in kinds}


@contextmanager
def _knowing(named: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise MagicError(f"{named}: needs a package that is not installed ({told(error)}); pip install it") from error
    except Exception as error:  # each file system has errors of its own
        raise MagicError(f"{named}: cannot be reached ({told(error)}); correct the address") from error


def told(error: Exception) -> str:
    """What a file system's own error says, for a message of one line."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return (" ".join(str(error).split()) or type(error).__name__)[:200]


def open_place(place: str) -> io.BufferedIOBase:
    """A file for reading, with ``seek``.

    Raises:
        OSError: It cannot be opened, whatever the reason.
        MagicError: Its file system is not known here.
    """
    if not is_address(place):
        if (kind := other_kind(Path(place))) is not None:
            raise OSError(f"is a {kind}, not a file")
        return open(place, "rb")
    system, path = file_system(place)
    with _as_os_errors():
        return _RemoteStream(system.open(path, "rb", block_size=_AHEAD))


class _RemoteStream(io.BufferedIOBase):
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

    def read(self, size: int | None = -1) -> bytes:
        with _as_os_errors():
            return self._stream.read(-1 if size is None else size)

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
        raise OSError(told(error)) from error


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
    system, path = file_system(place)
    with _as_os_errors():
        if size is None and not offset:
            return system.cat_file(path)
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


def known_state(place: str) -> str | None:
    """As ``state_of``, for a file that the user names.

    Raises:
        MagicError: It cannot be read.
    """
    try:
        return state_of(place)
    except OSError as error:
        raise MagicError(f"{place}: cannot be read ({reason(error)}); mend its permissions, or leave it out") from error


def _info(place: str) -> dict[str, Any]:
    system, path = file_system(place)
    with _as_os_errors():
        return system.info(path)


def reason(error: OSError) -> str:
    """Why a place cannot be read, for a message."""
    return error.strerror or told(error)
