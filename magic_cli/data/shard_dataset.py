"""Images in webdataset shards, or in any plain tar files, as a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from magic_cli.data.image_folders import named
from magic_cli.data.packed_datasets import PackedDataset, Rows
from magic_cli.data.place_names import name_of
from magic_cli.data.records import ImageRecord
from magic_cli.data.shard_index import Shard, open_shard
from magic_cli.data.shard_links import sample_key
from magic_cli.data.stored_images import ShardMember
from magic_cli.errors import MagicError


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
        rows: Sequence[int] = range(len(shard.names))
        if self.extension is not None:
            ending = f".{self.extension.lstrip('.')}"
            rows = [row for row in rows if shard.names[row] == f"{sample_key(shard.names[row])}{ending}"]
        _refuse_two_images(shard, rows)
        return _ShardRows(shard, rows)

    def notes(self) -> list[str]:
        hidden = [f"{rows.place}: hidden images are left out: {named(rows.hidden)}" for rows in self._rows if rows.hidden]
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
        super().__init__(shard.place, shard.state, shard.unread, shard.hidden)
        self._shard, self._rows = shard, rows
        self._stem = PurePosixPath(name_of(shard.place)).stem

    def __len__(self) -> int:
        return len(self._rows)

    def record(self, row: int) -> ImageRecord:
        row, shard = self._rows[row], self._shard
        name = shard.names[row]
        image = ShardMember(shard.place, name, shard.offsets[row], shard.sizes[row], shard.faults.get(row))
        references = shard.captions[row] if shard.captions else ()
        return ImageRecord(f"{self._stem}/{sample_key(name)}", image, image.name, references=references)
