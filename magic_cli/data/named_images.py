"""The images that texts name: those of the user, of the records of a file, and of a run folder.

A run folder names a member of a shard ``/data/00012.tar/000120001.jpg``, a row of a column ``/data/part-0.parquet/image/17``, an image
behind an address by this address, and any other by its path.

Addresses in a file are followed only where the user, too, has named an address, or where the file is made of them: else a file that
someone else wrote would send requests with the user's access. What a file from elsewhere names on this machine is not read at all.
"""

from __future__ import annotations

import copy
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from magic_cli.data.addresses import read_place, reason, require_file_systems
from magic_cli.data.images import IMAGE_SUFFIXES, RefusedImage, StoredImage, UnreadableImage
from magic_cli.data.paths import expanded
from magic_cli.data.place_names import below, is_address, leads_here, local, name_of
from magic_cli.data.shard_index import Shard, open_shard
from magic_cli.data.stored_images import ParquetCell, RemoteImage, ShardMember
from magic_cli.errors import MagicError

_SHARD, _TABLE, _NEITHER = "shard", "table", "neither"
_KINDS = {".tar": _SHARD, ".parquet": _TABLE, ".pq": _TABLE}
_TABLE_START = b"PAR1"
_SHARDS_AT_ONCE = 16
_KINDS_AT_ONCE = 1024
_ONLY_NAMED = "an address that a file of this machine names: it is read only if dataset.root, or that file, is an address, too"
_ONLY_OF_RUNS = "an address in a file of texts: only those of run folders are read"
_NOT_FROM_AWAY = (
    "a place on this machine that a file behind an address names: it is read only if that file is copied to this machine"
)


def typed_image(word: str, setting: str) -> Path | RemoteImage:
    """An image as the user types it: a path (``~`` is expanded), or an address; whether it can be read is seen when it is read.

    Args:
        word: As typed.
        setting: What the user calls it.

    Raises:
        MagicError: There is no such user; or nothing here reads addresses of this kind.
    """
    word = local(word)
    if not is_address(word):
        return expanded(word, setting)
    require_file_systems([word], setting=setting)
    return RemoteImage(word)


class ImageRoot:
    """Where images lie that a file names by relative paths: a folder of this machine, or an address.

    Args:
        place: The folder or address; "": names stand for themselves.
        file: The file that names the images, if it may lie behind an address. It then names nothing of this machine but files below
            ``place``.
        follows: Whether to follow addresses in the file even if neither ``place`` nor ``file`` is one.
    """

    def __init__(self, place: str | Path, *, file: str | Path = "", follows: bool = False) -> None:
        self.place: str | Path = place if isinstance(place, str) and is_address(place) else Path(place)
        self._is_from_away = is_address(str(file))
        self._follows = follows or self._is_from_away or isinstance(self.place, str)

    @classmethod
    def typed(cls, word: str, setting: str, *, file: str | Path = "", follows: bool = False) -> ImageRoot:
        """As the user types it; ``~`` is expanded.

        Raises:
            MagicError: As ``typed_image``.
        """
        found = typed_image(word, setting)
        return cls(found if isinstance(found, Path) else found.address, file=file, follows=follows)

    def absolute(self) -> ImageRoot:
        """With the whole path, if it is a folder of this machine."""
        return self if isinstance(self.place, str) else self._at(self.place.absolute())

    def folder(self, name: str) -> ImageRoot:
        """A folder in it, if it is there; else this one. Behind an address, it is taken to be there."""
        if isinstance(self.place, str):
            return self._at(below(self.place, name)) if name else self
        is_below = not (self._is_from_away and _leads_out(name))
        return self._at(self.place / name) if is_below and (self.place / name).is_dir() else self

    def _at(self, place: str | Path) -> ImageRoot:
        other = copy.copy(self)
        other.place = place
        return other

    def image(self, name: str) -> Path | RemoteImage | RefusedImage:
        """The image of this name, which may also be an absolute path or an address; TypeError if it is no text."""
        name = local(os.fspath(name))
        if is_address(name):
            if not self._follows:
                return RefusedImage(name, _ONLY_NAMED)
            return RefusedImage(name, _NOT_FROM_AWAY) if self._is_from_away and leads_here(name) else RemoteImage(name)
        if self._is_from_away and (name.startswith("/") or isinstance(self.place, Path) and _leads_out(name)):
            return RefusedImage(name, _NOT_FROM_AWAY)
        if isinstance(self.place, Path) or name.startswith("/"):
            return Path(self.place, name)
        return RemoteImage(below(self.place, name.removeprefix("./")))


def _leads_out(name: str) -> bool:
    """Whether a path may lead out of the folder that it starts from."""
    return name.startswith("/") or ".." in PurePosixPath(name).parts


def image_at(text: str, *, follows: bool = True) -> Path | StoredImage:
    """The image that run folders call by this name; whether it can be read is seen when it is read.

    Args:
        text: The name.
        follows: Whether it may be an address: it is in a run folder, not in any file of texts.
    """
    text = local(text)
    if not is_address(text):
        return Path(text) if os.path.exists(text) else _packed(text) or Path(text)
    if not follows:
        return RefusedImage(text, _ONLY_OF_RUNS)
    if any(_ending(place) not in _KINDS for place, _ in _places_in(text)):
        return _UnsureImage(text)
    return _packed(text) or RemoteImage(text)


@dataclass(frozen=True, slots=True)
class _UnsureImage(RemoteImage):
    """An image behind an address that may be a file, or lie in one: only its server knows, and is asked when the image is read."""

    def read_bytes(self) -> bytes:
        fault = None
        try:
            if (image := _packed(self.address)) is not None:
                return image.read_bytes()
        except (MagicError, OSError) as error:
            fault = reason(error) if isinstance(error, OSError) else str(error)
        try:
            return RemoteImage.read_bytes(self)  # super() does not know a class that was made anew for its slots
        except UnreadableImage as error:
            raise (
                error if fault in (None, str(error)) else UnreadableImage(f"{error}; of the file that may hold it: {fault}")
            ) from None


def _packed(text: str) -> StoredImage | None:
    """The image of this name inside a shard or table; None: no such file is known.

    Raises:
        OSError, MagicError: A file behind an address cannot be looked at now.
    """
    for place, inner in _places_in(text):
        kind = _kind(place)
        column, _, row = inner.rpartition("/")
        if kind == _TABLE and column and row.isdecimal():
            return ParquetCell(place, column, int(row))
        if kind == _SHARD:
            return _member(place, inner)
    return None


def _places_in(text: str) -> Iterator[tuple[str, str]]:
    """The files that may hold an image of this name, each with what the name says of the place in it. No server is asked.

    Behind an address, what has no ending is a folder, and an image holds no other.
    """
    if not is_address(text):
        place, _, inner = text.rpartition("/")
        while place and not os.path.exists(place):
            place, _, last = place.rpartition("/")
            inner = f"{last}/{inner}"
        if place and os.path.isfile(place):
            yield place, inner
        return
    end = text.index("://") + 2
    while "::" not in text and (end := text.find("/", end + 1)) > 0:  # of a chain, only whole images are known
        place = text[:end]
        if "/" in place.partition("://")[2] and _ending(place) not in ("", *IMAGE_SUFFIXES):  # no host
            yield place, text[end + 1 :]


def _ending(place: str) -> str:
    return PurePosixPath(name_of(place)).suffix.lower()


@lru_cache(_KINDS_AT_ONCE)
def _kind(place: str) -> str:
    """What kind of file a place is: by its ending, else by its first bytes. Only what is certain is kept.

    Raises:
        OSError, MagicError: It is behind an address, and cannot be looked at now.
    """
    if (suffix := _ending(place)) in _KINDS:
        return _KINDS[suffix]
    try:
        start = read_place(place, 0, tarfile.BLOCKSIZE)[: tarfile.BLOCKSIZE]
    except (FileNotFoundError, IsADirectoryError):
        return _NEITHER
    except OSError:
        if is_address(place):
            raise
        return _NEITHER  # where a file cannot be read, nor can an image in it
    if start.startswith(_TABLE_START):
        return _TABLE
    try:
        tarfile.TarInfo.frombuf(start, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return _NEITHER
    return _SHARD


def has_ending(place: str) -> bool:
    """Whether ``image_at`` finds the images in this shard or table again: behind an address, it must look like a file."""
    return not is_address(place) or _ending(place) not in ("", *IMAGE_SUFFIXES)


def _member(shard: str, member: str) -> ShardMember:
    try:
        contents = _known_shard(shard)
    except MagicError as error:  # of this shard's images only
        return ShardMember(shard, member, 0, 0, str(error))
    row = contents.rows.get(member)
    if row is None:
        return ShardMember(shard, member, 0, 0, "the shard has no such image any more")
    return ShardMember(shard, member, contents.offsets[row], contents.sizes[row], contents.faults.get(row))


@lru_cache(_SHARDS_AT_ONCE)
def _known_shard(shard: str) -> Shard:
    return open_shard(shard)
