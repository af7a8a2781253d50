"""Images in webdataset shards and in Parquet files: read where they lie, in order, without being unpacked."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, overload

from magic_cli.data.addresses import is_address, local, name_of, places, reason, state_of
from magic_cli.data.datasets import Dataset
from magic_cli.data.image_folders import named
from magic_cli.data.images import StoredImage
from magic_cli.data.parquet import Table, require_pyarrow
from magic_cli.data.paths import expanded
from magic_cli.data.record_fields import item_id, several_texts
from magic_cli.data.records import ImageRecord
from magic_cli.data.shard_index import Shard, open_shard
from magic_cli.data.shard_links import sample_key
from magic_cli.data.stored_images import ParquetCell, RemoteImage, ShardMember
from magic_cli.data.unread_captions import UnreadCaptions
from magic_cli.errors import MagicError, SettingsError
from magic_cli.terminal.progress import progress


class PackedRecords(Sequence[ImageRecord]):
    """The records of several files, each made when it is asked for: a million of them would take half a gigabyte.

    Args:
        files: Of each file, how many records it has and what makes one from its number there.
    """

    def __init__(self, files: Sequence[Rows]) -> None:
        self._files = files
        self._ends = list(itertools.accumulate(map(len, files)))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, place: int) -> ImageRecord: ...
    @overload
    def __getitem__(self, place: slice) -> list[ImageRecord]: ...
    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        place = range(len(self))[place]
        file = bisect.bisect_right(self._ends, place)
        return self._files[file].record(place - (self._ends[file - 1] if file else 0))

    def __iter__(self) -> Iterator[ImageRecord]:
        for file in self._files:
            yield from map(file.record, range(len(file)))


class Rows:
    """The records of one file.

    Args:
        place: The file.
        state: As ``addresses.state_of``, of before it was looked through.
        unread: Captions in it that cannot be read.
    """

    def __init__(self, place: str, state: str | None, unread: UnreadCaptions) -> None:
        self.place, self.state, self.unread = place, state, unread

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__}.__len__")

    def record(self, row: int) -> ImageRecord:
        """One of them, by its number in the file."""
        raise NotImplementedError(f"{type(self).__name__}.record")


@dataclass
class PackedDataset(Dataset):
    """Base of the data sets whose images lie inside other files.

    Attributes:
        files: A file, a pattern, a folder, or an address of one, such as ``s3://bucket/images/*.tar``.
    """

    files: str | None = None

    suffix = ""
    """Of the files of a folder that count."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.files:
            raise SettingsError(f"dataset.files is not set; {self.hint()}")

    def read(self) -> Sequence[ImageRecord]:
        return PackedRecords(self._rows)

    def notes(self) -> list[str]:
        return [note for rows in self._rows for note in rows.unread.notes(rows.place)]

    def remedy_of_ids(self) -> str:
        return "ids begin with the file's name without its folder: rename one of the files, or caption each folder in a run of its own"

    def states(self) -> dict[str, str]:
        return {rows.place: rows.state for rows in self._rows if rows.state is not None}

    @cached_property
    def _places(self) -> list[str]:
        return places(self.files, self.suffix, setting="dataset.files", hint=self.hint())

    @cached_property
    def _rows(self) -> list[Rows]:
        with progress(len(self._places), "looking through", "file", leave=False) as bar:
            rows = []
            for place in self._places:
                rows.append(self.rows(place))
                bar.update()
        return rows

    def rows(self, place: str) -> Rows:
        """The records of one file.

        Raises:
            MagicError: It cannot be read, or is not as expected.
        """
        raise NotImplementedError(f"{type(self).__name__}.rows")

    def __getstate__(self) -> dict[str, Any]:
        """For other processes, which get their records with their work."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}


def _state(place: str) -> str | None:
    try:
        return state_of(place)
    except OSError as error:
        raise MagicError(f"{place}: cannot be read ({reason(error)}); mend its permissions, or leave it out") from error


@dataclass
class ShardDataset(PackedDataset):
    """Images of webdataset shards, or of any plain tar files. An image's id is ``<shard>/<key>``.

    Attributes:
        files: A shard, a pattern, a folder, or an address of one, such as ``s3://bucket/images/*.tar``.
        extension: Of a sample's image, what stands behind the key and a dot, such as ``jpg`` or ``input.png``; null: any image.
        caption_key: A sample's captions, its references, are in its ``.txt``, or in its ``.json`` under this key; null: there are none.
    """

    extension: str | None = None
    caption_key: str | None = "caption"

    suffix = ".tar"

    def rows(self, place: str) -> Rows:
        shard = open_shard(place, caption_key=self.caption_key)
        rows = range(len(shard.names))
        if self.extension is not None:
            ending = f".{self.extension.lstrip('.')}"
            rows = [row for row in rows if shard.names[row] == f"{sample_key(shard.names[row])}{ending}"]
        _refuse_two_images(shard, rows)
        return _ShardRows(shard, rows)

    def notes(self) -> list[str]:
        shards = [rows.shard for rows in self._rows]
        hidden = [f"{shard.place}: hidden images are left out: {named(shard.hidden)}" for shard in shards if shard.hidden]
        return [*hidden, *super().notes()]

    def hint(self) -> str:
        return "set dataset.files to webdataset shards: a .tar file, a pattern ('data/*.tar'), a folder, or an address (s3://...)"


def _refuse_two_images(shard: Shard, rows: Sequence[int]) -> None:
    seen: dict[str, str] = {}
    for row in rows:
        name = shard.names[row]
        if (other := seen.setdefault(sample_key(name), name)) != name:
            raise MagicError(
                f"{shard.place}: the key {sample_key(name)!r} has two images, {other} and {name}; say which is meant "
                "(dataset.extension=jpg), or give each a key of its own (what stands before the first dot of its name)"
            )


class _ShardRows(Rows):
    def __init__(self, shard: Shard, rows: Sequence[int]) -> None:
        super().__init__(shard.place, shard.state, shard.unread)
        self.shard, self._rows = shard, rows
        self._stem = PurePosixPath(name_of(shard.place)).stem

    def __len__(self) -> int:
        return len(self._rows)

    def record(self, row: int) -> ImageRecord:
        row, shard = self._rows[row], self.shard
        name = shard.names[row]
        image = ShardMember(shard.place, name, shard.offsets[row], shard.sizes[row], shard.faults.get(row))
        references = shard.captions[row] if shard.captions else ()
        return ImageRecord(f"{self._stem}/{sample_key(name)}", image, image.name, references=references)


@dataclass
class ParquetDataset(PackedDataset):
    """Images of Parquet files. An image's id is ``<file>/<row>``, rows counted from 0, or what a column says.

    Attributes:
        files: A file, a pattern, a folder, or an address of one, such as ``s3://bucket/images/*.parquet``.
        image: Column of the images: their bytes, ``{bytes, path}`` as Hugging Face's datasets have it (the path counts where there are
            no bytes), or paths or addresses.
        root: Folder that relative paths start from, or its address; null: that of the Parquet file.
        caption: Column of an image's captions, a text or a list of texts, which are its references; null: there is none.
        id: Column of ids, each of which stands once in all files; null: there is none.
    """

    image: str = "image"
    root: str | None = None
    caption: str | None = None
    id: str | None = None

    suffix = ".parquet"

    def rows(self, place: str) -> Rows:
        require_pyarrow(f"dataset={self.name}")
        state, table = _state(place), Table(place)
        kind = table.kind(self.image, "dataset.image")
        if kind not in ("bytes", "texts", "images"):
            raise SettingsError(
                f"dataset.image={self.image}: this column of {place} is of the type {kind}; name one of bytes, of {{bytes, path}}, or of paths"
            )
        columns = {name: column for name, column in (("id", self.id), ("caption", self.caption)) if column is not None}
        for name, column in columns.items():
            table.kind(column, f"dataset.{name}")
        if kind == "texts":
            columns["path"] = self.image
        unread = UnreadCaptions()
        values = self._columns(table, columns, unread) if columns else {}
        if unread.count and not any(values["caption"]):
            raise SettingsError(
                f"dataset.caption={self.caption}: {place} has no caption there ({unread.first}); name another column, or null"
            )
        if kind == "images" and (paths := table.image_paths(self.image)):
            values["path"] = paths
        return _TableRows(self, Rows(place, state, unread), table.num_rows, values)

    def remedy_of_ids(self) -> str:
        if self.id is None:
            return super().remedy_of_ids()
        return f"name a column whose values differ, or leave dataset.id={self.id} out"

    def folder_of(self, place: str) -> str:
        """What the relative paths in a file start from: an absolute path, or an address.

        Raises:
            SettingsError: ``root`` begins with the folder of a user who does not exist.
        """
        if self.root is None:
            return place.rpartition("/")[0]
        root = local(self.root)
        return root.rstrip("/") if is_address(root) else str(expanded(root, "dataset.root").absolute())

    def _columns(self, table: Table, columns: dict[str, str], unread: UnreadCaptions) -> dict[str, list[Any]]:
        """What is kept of each row; captions that cannot be read are counted."""
        kept: dict[str, list[Any]] = {name: [] for name in columns}
        wanted = list(dict.fromkeys(columns.values()))
        for row, values in enumerate(table.values(wanted)):
            found = dict(zip(wanted, values, strict=True))
            for name, column in columns.items():
                value, place = found[column], f"row {row}: {column}"
                if name == "id":
                    value = item_id(value, f"dataset.id={column}: {table.place} row {row}")
                elif name == "caption":
                    value = _caption(value, place, unread)
                kept[name].append(value)
        return kept

    def hint(self) -> str:
        return "set dataset.files to Parquet files: one, a pattern ('data/*.parquet'), a folder, or an address (s3://...)"


def _caption(value: Any, place: str, unread: UnreadCaptions) -> tuple[str, ...]:
    if value is None or value == []:
        return ()
    try:
        return several_texts(value, place)
    except MagicError as error:
        unread.add(error)
        return ()


class _TableRows(Rows):
    def __init__(self, dataset: ParquetDataset, file: Rows, count: int, values: dict[str, list[Any]]) -> None:
        super().__init__(file.place, file.state, file.unread)
        place = file.place
        self._column, self._count, self._values = dataset.image, count, values
        self._stem = PurePosixPath(name_of(place)).stem
        self._root = dataset.folder_of(place)

    def __len__(self) -> int:
        return self._count

    def record(self, row: int) -> ImageRecord:
        name = self._value("id", row)
        image = self._image(row)
        name = f"{self._stem}/{row}" if name is None else name
        return ImageRecord(
            name, image, name if isinstance(image, ParquetCell) else image.name, references=self._value("caption", row) or ()
        )

    def _image(self, row: int) -> Path | StoredImage:
        path = self._value("path", row)
        if path is None:
            return ParquetCell(self.place, self._column, row)
        path = local(path)
        if not is_address(path) and not path.startswith("/"):
            path = f"{self._root}/{path}"
        return RemoteImage(path) if is_address(path) else Path(path)

    def _value(self, name: str, row: int) -> Any:
        return self._values[name][row] if name in self._values else None
