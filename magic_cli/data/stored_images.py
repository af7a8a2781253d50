"""Images that lie inside tar and Parquet files, or behind an address; and how a run folder's name of one leads back to it.

Their names there: ``/data/00012.tar/000120001.jpg`` for a member of a shard, ``/data/part-0.parquet/image/17`` for a row of a column,
an address as it stands for the rest.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from magic_cli.data.addresses import is_address, name_of, read_place, reason
from magic_cli.data.images import StoredImage, UnreadableImage
from magic_cli.data.parquet import cell_bytes
from magic_cli.data.shard_index import Shard, open_shard
from magic_cli.errors import MagicError

_PART = re.compile(r"(.+?\.tar(?:\?[^/]*)?)/(.+)|(.+?\.(?:parquet|pq)(?:\?[^/]*)?)/([^/]+)/(\d+)", re.IGNORECASE | re.DOTALL)
_SHARDS_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class ShardMember(StoredImage):
    """An image of a shard.

    Attributes:
        shard: Place of the tar file.
        member: Its name there.
        offset, size: Where its bytes are.
        fault: Why it cannot be read; None if it can.
    """

    shard: str
    member: str
    offset: int
    size: int
    fault: str | None = None

    def __str__(self) -> str:
        return f"{self.shard}/{self.member}"

    @property
    def name(self) -> str:
        return self.member.rpartition("/")[2]

    @property
    def container(self) -> str:
        return self.shard

    def exists(self) -> bool:
        return self.fault is None

    def read_bytes(self) -> bytes:
        if self.fault is not None:
            raise UnreadableImage(self.fault)
        data = _read(self.shard, self.offset, self.size)
        if len(data) != self.size:
            raise UnreadableImage(
                f"{len(data)} bytes came instead of {self.size}; the shard is cut off, or parts of it cannot be asked for"
            )
        return data


@dataclass(frozen=True, slots=True)
class ParquetCell(StoredImage):
    """An image in a column of a Parquet file.

    Attributes:
        file: Place of the file.
        column: Its column.
        row: From 0, of the whole file.
    """

    file: str
    column: str
    row: int

    def __str__(self) -> str:
        return f"{self.file}/{self.column}/{self.row}"

    @property
    def name(self) -> str:
        return str(self.row)

    @property
    def container(self) -> str:
        return self.file

    def exists(self) -> bool:
        return is_address(self.file) or os.path.isfile(self.file)

    def read_bytes(self) -> bytes:
        try:
            data = cell_bytes(self.file, self.column, self.row)
        except (MagicError, OSError) as error:
            raise UnreadableImage(reason(error) if isinstance(error, OSError) else str(error)) from error
        if data is None:
            raise UnreadableImage("there is no image in this row")
        return data


@dataclass(frozen=True, slots=True)
class RemoteImage(StoredImage):
    """An image file behind an address."""

    address: str

    def __str__(self) -> str:
        return self.address

    @property
    def name(self) -> str:
        return name_of(self.address)

    @property
    def container(self) -> str:
        return self.address

    def read_bytes(self) -> bytes:
        return _read(self.address)


def _read(place: str, offset: int = 0, size: int | None = None) -> bytes:
    try:
        return read_place(place, offset, size)
    except FileNotFoundError:
        raise UnreadableImage(f"there is no file {place}") from None
    except OSError as error:
        raise UnreadableImage(f"cannot be read ({reason(error)})") from error
    except MagicError as error:
        raise UnreadableImage(str(error)) from error


def image_at(text: str) -> Path | StoredImage:
    """The image that run folders, or a list of images, call by this name; whether it can be read is seen when it is read."""
    if (part := _PART.fullmatch(text)) and (is_address(text) or not os.path.exists(text)):
        shard, member, file, column, row = part.groups()
        if file is not None:
            return ParquetCell(file, column, int(row))
        if is_address(shard) or os.path.isfile(shard):
            return _member(shard, member)
    return RemoteImage(text) if is_address(text) else Path(text)


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
