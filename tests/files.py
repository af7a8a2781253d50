"""Files that commands wrote, as tests look at them, and files that tests write for them."""

import gzip
import io
import json
from pathlib import Path


def lines(file):
    """The records of a file of JSON lines."""
    return [json.loads(line) for line in Path(file).read_text(encoding="utf-8").splitlines()]


def written(tmp_path, name, document):
    """The path of a file of this name, which says what it is to hold: a text as it is, else JSON, JSON lines, packed."""
    path = tmp_path / name
    if isinstance(document, str):
        text = document
    elif name.endswith((".jsonl", ".jsonl.gz")):
        text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in document)
    else:
        text = json.dumps(document, ensure_ascii=False)
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def table_bytes(columns, **options):
    """A Parquet file of these columns."""
    import pyarrow
    from pyarrow import parquet

    stream = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), stream, **options)
    return stream.getvalue()
