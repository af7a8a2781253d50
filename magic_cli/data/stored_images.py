"""Images that lie inside tar and Parquet files, or behind an address."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from magic_cli.data.addresses import read_place, reason
from magic_cli.data.images import StoredImage, UnreadableImage
from magic_cli.data.parquet import cell_bytes
from magic_cli.data.place_names import WEB, is_address, name_of, query_hint
from magic_cli.errors import MagicError


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
        if not data:
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
        name = name_of(self.address)
        return unquote(name) if self.address.startswith(WEB) else name

    @property
    def container(self) -> str:
        return self.address

    def read_bytes(self) -> bytes:
        return _read(self.address)


def is_same_address(image: Path | StoredImage, before: str | None) -> bool:
    """Whether an image of its own lies behind the address that it had before: to see whether it has changed would take as long as to read it."""
    return isinstance(image, RemoteImage) and image.address == before


def _read(place: str, offset: int = 0, size: int | None = None) -> bytes:
    try:
        return read_place(place, offset, size)
    except FileNotFoundError:
        raise UnreadableImage(f"there is no file {place}{query_hint(place)}") from None
    except OSError as error:
        raise UnreadableImage(f"cannot be read ({reason(error)})") from error
    except MagicError as error:
        raise UnreadableImage(str(error)) from error
