"""Images in Parquet files, or named in them, as a data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from magic_cli.data.addresses import known_state
from magic_cli.data.images import StoredImage
from magic_cli.data.named_images import ImageRoot
from magic_cli.data.packed_datasets import PackedDataset, Rows
from magic_cli.data.parquet import Table, require_pyarrow
from magic_cli.data.place_names import folder_of, is_address, name_of
from magic_cli.data.record_fields import item_id, several_texts
from magic_cli.data.records import ImageRecord
from magic_cli.data.stored_images import ParquetCell
from magic_cli.data.unread_captions import UnreadCaptions
from magic_cli.errors import MagicError, SettingsError


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
        state, table = known_state(place), Table(place)
        kind = table.kind(self.image, "dataset.image")
        if kind not in ("bytes", "texts", "images"):
            raise SettingsError(
                f"dataset.image={self.image}: this column of {place} is of the type {kind}; name one of bytes, of {{bytes, path}}, or of paths"
            )
        columns = {name: column for name, column in (("id", self.id), ("caption", self.caption)) if column is not None}
        for name, column in columns.items():
            table.kind(column, f"dataset.{name}")
        if self.caption is not None and not table.may_hold_texts(self.caption):
            raise SettingsError(
                f"dataset.caption={self.caption}: this column of {place} is of the type {table.kind(self.caption, 'dataset.caption')}; "
                "name one of texts, of lists of texts, or null"
            )
        if kind == "texts":
            columns["path"] = self.image
        unread = UnreadCaptions()
        values = self._columns(table, columns, unread) if columns else {}
        if kind == "images" and (paths := table.image_paths(self.image)):
            values["path"] = paths
        return _TableRows(self, Rows(place, state, unread), table.num_rows, values)

    def remedy_of_ids(self) -> str:
        if self.id is None:
            return super().remedy_of_ids()
        return f"name a column whose values differ, or leave dataset.id={self.id} out"

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
        if dataset.root is None:
            root = ImageRoot(folder_of(place), file=place, follows=True)
        else:
            root = ImageRoot.typed(dataset.root, "dataset.root", file=place, follows=True)
        self._root = root.absolute()

    def __len__(self) -> int:
        return self._count

    def record(self, row: int) -> ImageRecord:
        name = self._value("id", row)
        image = self._image(row)
        name = f"{self._stem}/{row}" if name is None else name
        return ImageRecord(name, image, self._image_name(row, image) or name, references=self._value("caption", row) or ())

    def _image_name(self, row: int, image: Path | StoredImage) -> str | None:
        """The file name that the row has; None: it has none."""
        path = self._value("path", row)
        return None if not path else image.name if is_address(path) else PurePosixPath(path).name

    def _image(self, row: int) -> Path | StoredImage:
        path = self._value("path", row)
        if not path:
            return ParquetCell(self.place, self._column, row)
        return self._root.image(path)

    def _value(self, name: str, row: int) -> Any:
        return self._values[name][row] if name in self._values else None
