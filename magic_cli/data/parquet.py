"""Columns of Parquet files, read row by row without holding more than a piece of them."""

from __future__ import annotations

import os
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from magic_cli.data.addresses import open_place, reason
from magic_cli.errors import MagicError, install_extra

_ROWS = 32
"""Of images that are in memory at once."""
_TEXT_ROWS = 4096
_BUFFER = 1 << 20
"""Bytes that are read at once of each column, instead of a whole row group."""
_FILES_AT_ONCE = 4


def require_pyarrow(setting: str) -> None:
    """Make sure that Parquet files can be read and written.

    Args:
        setting: What asks for it, for the error message.

    Raises:
        MagicError: The package is not installed.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise MagicError(f"{setting}: Parquet files need the package pyarrow; {install_extra('parquet')}") from error


class Table:
    """One Parquet file, open for reading.

    Args:
        place: Its place (``data.addresses``).

    Raises:
        MagicError: It cannot be read, or is no whole Parquet file.
    """

    def __init__(self, place: str) -> None:
        require_pyarrow(place)
        import pyarrow
        from pyarrow import parquet

        self.place = place
        try:
            self._file = parquet.ParquetFile(open_place(place), buffer_size=_BUFFER, pre_buffer=False)
        except pyarrow.ArrowInvalid as error:
            problem = str(error).split(". ")[0]
            raise MagicError(f"{place}: is no whole Parquet file ({problem}); download it again, or leave it out") from error
        except OSError as error:
            raise MagicError(f"{place}: cannot be read ({reason(error)}); mend its permissions, or leave it out") from error
        groups = (self._file.metadata.row_group(i).num_rows for i in range(self._file.metadata.num_row_groups))
        self._starts = [0]
        for rows in groups:
            self._starts.append(self._starts[-1] + rows)

    @property
    def num_rows(self) -> int:
        """Of the whole file."""
        return self._starts[-1]

    def kind(self, column: str, setting: str) -> str:
        """What a column holds: ``bytes``, ``texts``, ``images`` (structs of ``bytes`` and ``path``), or its type in Arrow's words.

        Raises:
            MagicError: There is no such column; names those that there are.
        """
        from pyarrow import types

        schema = self._file.schema_arrow
        if column not in schema.names:
            raise MagicError(f"{setting}={column}: {self.place} has no such column; it has {', '.join(schema.names)}")
        kind = schema.field(column).type

        def is_bytes(kind: Any) -> bool:
            return types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)

        if types.is_struct(kind) and kind.get_field_index("bytes") >= 0 and is_bytes(kind.field("bytes").type):
            if kind.get_field_index("path") < 0 or _is_text(kind.field("path").type):
                return "images"
        return "bytes" if is_bytes(kind) else "texts" if _is_text(kind) else str(kind)

    def may_hold_texts(self, column: str) -> bool:
        """Whether the type of a column allows texts, lists of texts, or lists of objects with texts; also where all is null."""
        from pyarrow import types

        kind = self._file.schema_arrow.field(column).type
        while types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind) or types.is_dictionary(kind):
            kind = kind.value_type
        return _is_text(kind) or types.is_struct(kind) or types.is_null(kind)

    def values(self, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """The values of some columns, row by row. Parts of structs are named as ``image.path``.

        Raises:
            MagicError: The file is damaged.
        """
        for batch in self._batches(columns, self._groups, _TEXT_ROWS):
            yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)

    def image_paths(self, column: str) -> list[str | None]:
        """Of a column of ``{bytes, path}``: the paths of rows without bytes; empty if there are none.

        Raises:
            MagicError: The file is damaged.
        """
        struct = self._file.schema_arrow.field(column).type
        if struct.get_field_index("path") < 0 or not any(has_nulls := list(map(self._may_lack_bytes(column), self._groups))):
            return []
        found: list[str | None] = []
        for group in self._groups:
            if not has_nulls[group]:
                found += [None] * (self._starts[group + 1] - self._starts[group])
                continue
            paths = (
                path for batch in self._batches([f"{column}.path"], range(group, group + 1), _TEXT_ROWS) for path in _part(batch)
            )
            held = (
                data
                for batch in self._batches([f"{column}.bytes"], range(group, group + 1), _ROWS)
                for data in _part(batch).is_valid()
            )
            found += [None if data.as_py() else path.as_py() for path, data in zip(paths, held, strict=True)]
        return found if any(found) else []

    @property
    def _groups(self) -> range:
        return range(len(self._starts) - 1)

    def _may_lack_bytes(self, column: str) -> Callable[[int], bool]:
        """Whether a row group may have rows without bytes; what the file itself counts spares reading them."""
        metadata = self._file.metadata
        names = [metadata.schema.column(i).path for i in range(len(metadata.schema))]
        number = names.index(f"{column}.bytes")

        def may_lack(group: int) -> bool:
            counts = metadata.row_group(group).column(number).statistics
            return counts is None or not counts.has_null_count or counts.null_count > 0

        return may_lack

    def group_of(self, row: int) -> int:
        """In which row group a row is."""
        return bisect_right(self._starts, row) - 1

    def cells(self, column: str, group: int) -> Iterator[tuple[int, Any]]:
        """A column of a row group, some rows at once: number of the first, and Arrow's array.

        Raises:
            MagicError: The file is damaged.
        """
        first = self._starts[group]
        for batch in self._batches([column], range(group, group + 1), _ROWS):
            yield first, batch.column(0)
            first += batch.num_rows

    def _batches(self, columns: Sequence[str], groups: range, rows: int) -> Iterator[Any]:
        import pyarrow

        try:
            yield from self._file.iter_batches(rows, row_groups=list(groups), columns=list(columns), use_threads=False)
        except (pyarrow.ArrowException, OSError) as error:
            problem = " ".join(str(error).split())[:160]
            raise MagicError(f"{self.place}: is damaged ({problem}); download it again, or leave it out") from error


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def _part(batch: Any) -> Any:
    """The only part of the only column, a struct; null where the struct is."""
    return batch.column(0).flatten()[0]


class _Cursor:
    """Goes through a column from row to row: what is asked for mostly lies behind what was asked for before."""

    def __init__(self, place: str, column: str) -> None:
        self._table, self._column = Table(place), column
        self._group = -1
        self._pieces: Iterator[tuple[int, Any]] = iter(())
        self._first, self._cells = 0, ()

    def at(self, row: int) -> Any:
        if row >= self._table.num_rows:
            raise MagicError(f"the file has {self._table.num_rows} rows now")
        if (group := self._table.group_of(row)) != self._group or row < self._first:
            self._group, self._pieces = group, self._table.cells(self._column, group)
            self._go_on()
        while row >= self._first + len(self._cells):
            self._go_on()
        return self._cells[row - self._first].as_py()

    def _go_on(self) -> None:
        piece = next(self._pieces, None)
        if piece is None:
            raise MagicError(f"row group {self._group} ends before its last row; the file is damaged")
        self._first, self._cells = piece


class _Cursors:
    """Those of this process, of the files that were asked for last."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew, as a process must that was forked: it shares its files with its parent."""
        self._lock = threading.Lock()
        self._cursors: OrderedDict[tuple[str, str], _Cursor] = OrderedDict()

    def value(self, place: str, column: str, row: int) -> Any:
        with self._lock:
            cursor = self._cursors.pop((place, column), None) or _Cursor(place, column)
            value = cursor.at(row)  # one that fails is not kept
            self._cursors[place, column] = cursor
            if len(self._cursors) > _FILES_AT_ONCE:
                self._cursors.popitem(last=False)
            return value


_CURSORS = _Cursors()
os.register_at_fork(after_in_child=_CURSORS.forget)


def cell_bytes(place: str, column: str, row: int) -> bytes | None:
    """The bytes in a row of a column; None: there are none.

    Args:
        place: Of the file.
        column: Its column: of bytes, or of structs that have some.
        row: From 0, of the whole file.

    Raises:
        MagicError: The file cannot be read or is damaged.
    """
    value = _CURSORS.value(place, column, row)
    return value.get("bytes") if isinstance(value, dict) else value
