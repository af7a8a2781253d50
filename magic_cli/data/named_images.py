"""The images that texts name: those of the user, of the records of a file, and of a run folder.

A run folder names a member of a shard ``/data/00012.tar/000120001.jpg``, a row of a column ``/data/part-0.parquet/image/17``, an image
behind an address by this address, and any other by its path.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path, PurePosixPath

from magic_cli.data.addresses import read_place, require_file_systems
from magic_cli.data.images import StoredImage
from magic_cli.data.paths import expanded
from magic_cli.data.place_names import below, is_address, local, name_of
from magic_cli.data.shard_index import Shard, open_shard
from magic_cli.data.stored_images import ParquetCell, RemoteImage, ShardMember
from magic_cli.errors import MagicError

_SHARD, _TABLE, _NEITHER = "shard", "table", "neither"
_KINDS = {".tar": _SHARD, ".parquet": _TABLE, ".pq": _TABLE}
_TABLE_START = b"PAR1"
_SHARDS_AT_ONCE = 16
_KINDS_AT_ONCE = 1024


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
    """

    def __init__(self, place: str | Path) -> None:
        self.place: str | Path = place if isinstance(place, str) and is_address(place) else Path(place)

    @classmethod
    def typed(cls, word: str, setting: str) -> ImageRoot:
        """As the user types it; ``~`` is expanded.

        Raises:
            MagicError: As ``typed_image``.
        """
        found = typed_image(word, setting)
        return cls(found if isinstance(found, Path) else found.address)

    def absolute(self) -> ImageRoot:
        """With the whole path, if it is a folder of this machine."""
        return self if isinstance(self.place, str) else ImageRoot(self.place.absolute())

    def folder(self, name: str) -> ImageRoot:
        """A folder in it, if it is there; else this one. Behind an address, it is taken to be there."""
        if isinstance(self.place, str):
            return ImageRoot(below(self.place, name)) if name else self
        return ImageRoot(self.place / name) if (self.place / name).is_dir() else self

    def image(self, name: str) -> Path | RemoteImage:
        """The image of this name, which may also be an absolute path or an address; TypeError if it is no text."""
        name = local(os.fspath(name))
        if is_address(name):
            return RemoteImage(name)
        if isinstance(self.place, Path) or name.startswith("/"):
            return Path(self.place, name)
        return RemoteImage(below(self.place, name.removeprefix("./")))


def image_at(text: str) -> Path | StoredImage:
    """The image that run folders, or a list of images, call by this name; whether it can be read is seen when it is read."""
    text = local(text)
    is_away = is_address(text)
    if not is_away and os.path.exists(text):
        return Path(text)
    for place, inner in _places_in(text):
        kind = _kind(place)
        column, _, row = inner.rpartition("/")
        if kind == _TABLE and column and row.isdecimal():
            return ParquetCell(place, column, int(row))
        if kind == _SHARD:
            return _member(place, inner)
    return RemoteImage(text) if is_away else Path(text)


def _places_in(text: str) -> Iterator[tuple[str, str]]:
    """The files that may hold an image of this name, each with what the name says of the place in it."""
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
        yield text[:end], text[end + 1 :]


@lru_cache(_KINDS_AT_ONCE)
def _kind(place: str) -> str:
    """What kind of file a place is: by its ending, else by its first bytes. Behind an address, what has no ending is a folder."""
    suffix = PurePosixPath(name_of(place)).suffix.lower()
    if suffix in _KINDS or is_address(place) and (not suffix or "/" not in place.partition("://")[2]):  # a folder, or a host
        return _KINDS.get(suffix, _NEITHER)
    try:
        start = read_place(place, 0, tarfile.BLOCKSIZE)[: tarfile.BLOCKSIZE]
    except (MagicError, OSError):  # where it cannot be read, nor can an image in it
        return _NEITHER
    if start.startswith(_TABLE_START):
        return _TABLE
    try:
        tarfile.TarInfo.frombuf(start, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return _NEITHER
    return _SHARD


def has_ending(place: str) -> bool:
    """Whether ``image_at`` finds the images in this shard or table again: behind an address, it must look like a file."""
    return not is_address(place) or bool(PurePosixPath(name_of(place)).suffix)


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
