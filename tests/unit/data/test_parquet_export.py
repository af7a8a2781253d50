"""Records as Parquet: columns of every kind, keys that some lack, texts that are no UTF-8."""

import io

from pyarrow import parquet

from magic_cli.data.parquet_export import ParquetRows


def test_records_become_rows_with_typed_columns():
    records = [
        {"id": "a", "caption": "half \ud83d", "token_ids": [1, 50256], "references": ["x", "\udcff"], "rank": 2},
        {"id": "b", "caption": "", "token_ids": [], "retrieved": [{"caption": "é", "score": 0.5}]},
    ]
    stream = io.BytesIO()
    ParquetRows(lambda: records).write_to(stream)
    table = parquet.read_table(stream)
    assert table.to_pylist() == [
        {
            "id": "a",
            "caption": "half \\ud83d",
            "token_ids": [1, 50256],
            "references": ["x", "\\udcff"],
            "rank": 2,
            "retrieved": None,
        },
        {
            "id": "b",
            "caption": "",
            "token_ids": [],
            "references": None,
            "rank": None,
            "retrieved": '[{"caption": "é", "score": 0.5}]',
        },
    ]
    assert str(table.schema.field("token_ids").type) == "list<element: int32>"


def test_no_records_are_an_empty_table():
    stream = io.BytesIO()
    ParquetRows(list).write_to(stream)
    assert parquet.read_table(stream).num_rows == 0
