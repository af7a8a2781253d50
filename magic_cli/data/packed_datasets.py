"""What data sets share whose images lie inside other files: read where they lie, in order, without being unpacked."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, overload

from magic_cli.data.datasets import Dataset
from magic_cli.data.listing import places
from magic_cli.data.named_images import has_ending
from magic_cli.data.records import ImageRecord
from magic_cli.data.unread_captions import UnreadCaptions
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
        hidden: Names of hidden images in it, which are left out.
    """

    def __init__(self, place: str, state: str | None, unread: UnreadCaptions, hidden: Sequence[str] = ()) -> None:
        self.place, self.state, self.unread, self.hidden = place, state, unread, hidden

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
        self.given("files")

    def read(self) -> Sequence[ImageRecord]:
        return PackedRecords(self._rows)

    def notes(self) -> list[str]:
        lost = [rows.place for rows in self._rows if not has_ending(rows.place)]
        of_names = (
            [f"{lost[0]}: its name has no ending, so evaluations and reports will not find its images; rename it"] if lost else []
        )
        return [*of_names, *(note for rows in self._rows for note in rows.unread.notes(rows.place))]

    def remedy_of_ids(self) -> str:
        return "ids begin with the file's name without its folder: rename one of the files, or caption each folder in a run of its own"

    def states(self) -> dict[str, str]:
        return {rows.place: rows.state for rows in self._rows if rows.state is not None}

    @cached_property
    def _places(self) -> list[str]:
        return places(self.given("files"), self.suffix, setting="dataset.files", hint=self.hint())

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
