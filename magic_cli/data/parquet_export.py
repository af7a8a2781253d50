"""Records as one Parquet file, written piece by piece."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Mapping
from typing import IO, Any

_ROWS = 10_000
"""Of a row group."""
_TEXTS = ("id", "title_id", "title", "image", "image_sha256", "caption", "story", "split", "reference")
_NUMBERS = ("rank",)
_LISTS = {"token_ids": "number", "references": "text"}


class ParquetRows:
    """A document for ``files.write_document``: one row a record. Keys that it does not know become the JSON of what they hold.

    Args:
        records: Makes the records; is called twice, first to see which keys there are.
    """

    def __init__(self, records: Callable[[], Iterable[Mapping[str, Any]]]) -> None:
        self._records = records

    def write_to(self, stream: IO[bytes]) -> None:
        """Write the file.

        Raises:
            ImportError: There is no pyarrow.
        """
        import pyarrow
        from pyarrow import parquet

        names = list(dict.fromkeys(itertools.chain.from_iterable(self._records())))
        schema = pyarrow.schema([(name, _type(name)) for name in names])
        records = iter(self._records())
        with parquet.ParquetWriter(stream, schema, compression="zstd") as writer:
            while part := list(itertools.islice(records, _ROWS)):
                columns = [[_value(name, record.get(name)) for record in part] for name in names]
                arrays = [pyarrow.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
                writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))


def _type(name: str) -> Any:
    import pyarrow

    single = {"number": pyarrow.int32(), "text": pyarrow.string()}
    if name in _LISTS:
        return pyarrow.list_(single[_LISTS[name]])
    return single["number" if name in _NUMBERS else "text"]


def _value(name: str, value: Any) -> Any:
    if value is None or name in _NUMBERS:
        return value
    if name in _LISTS:
        return list(map(_whole, value)) if _LISTS[name] == "text" else value
    return _whole(value if name in _TEXTS else json.dumps(value, ensure_ascii=False))


def _whole(text: str) -> str:
    """Arrow's texts are UTF-8, which has no half characters: a file name that is no UTF-8 gets JSON's own escapes, as in other files."""
    return text.encode("utf-8", errors="backslashreplace").decode("utf-8")
