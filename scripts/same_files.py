"""Whether two folders hold the same, and if not, how many records and files are lost, there too often, or changed."""

import json
import re
import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZipFile

CLOCKS = {
    "manifest.json": ("sessions", "training_seconds", "tokens_per_second", "git_revision"),
    "metrics.json": ("seconds", "evaluated"),
    "ivf": ("seconds",),
}
"""What differs from one undisturbed start to the next, by the beginning of a JSON file's name: times, of each start and of all,
and the revision of the checkout, which may change meanwhile."""


@dataclass
class Difference:
    """What is not the same.

    Attributes:
        items: Records of JSON lines, and other files, that were looked at.
        lost, doubled, changed: Of them; doubled is what should not be there, too.
    """

    items: int = 0
    lost: int = 0
    doubled: int = 0
    changed: int = 0

    def __bool__(self) -> bool:
        return bool(self.lost or self.doubled or self.changed)

    def __str__(self) -> str:
        return f"{self.lost} lost, {self.doubled} doubled, {self.changed} changed"


def contents(folder: Path) -> dict[str, Any]:
    """What a folder holds, by file; lock files and clocks are left out, and of SQLite files the rows count.

    Of checkpoints the tensors count: the rest of them is how far training had come, and after how many seconds.
    """
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file.name != ".lock")
    return {file.relative_to(folder).as_posix(): _content(file) for file in files}


def _content(file: Path) -> Any:
    clocks = next((names for start, names in CLOCKS.items() if file.name.startswith(start)), ())
    if file.suffix == ".jsonl":
        return file.read_bytes().splitlines(keepends=True)
    if file.suffix == ".json" and clocks:
        return {name: _chosen(name, value) for name, value in json.loads(file.read_bytes()).items() if name not in clocks}
    if file.suffix == ".sqlite":
        with closing(sqlite3.connect(file)) as database:
            tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            return {table: sorted(database.execute(f"SELECT * FROM {table}")) for table in tables}
    if file.name == "report.html":
        return re.sub(rb"\d{4}-\d\d-\d\d \d\d:\d\d UTC", b"", file.read_bytes())
    if file.match("step-*.pt"):
        with ZipFile(file) as checkpoint:
            return {name: checkpoint.read(name) for name in checkpoint.namelist() if "/data/" in name}
    return file.read_bytes()


def _chosen(name: str, value: Any) -> Any:
    """Of the size that ``run.batch_size=auto`` found, without the bytes that it measured, which differ from start to start."""
    return value["chosen"] if name == "batch_size" and isinstance(value, dict) else value


def compare(expected: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Difference]:
    """The difference of each file, between what ``contents`` says of two folders."""
    return {name: _compare(expected.get(name), found.get(name)) for name in sorted(expected.keys() | found.keys())}


def _compare(one: Any, other: Any) -> Difference:
    if isinstance(one, list) and isinstance(other, list):
        return Difference(len(one)) if one == other else _compare_records(one, other)
    return Difference(1, int(other is None), int(one is None), int(None not in (one, other) and one != other))


def _compare_records(one: Sequence[bytes], other: Sequence[bytes]) -> Difference:
    """Of records in another order, one counts as changed."""
    before, after = (Counter(map(_key, lines)) for lines in (one, other))
    lost, doubled = (before - after).total(), (after - before).total()
    changed = (Counter(one) - Counter(other)).total() - lost
    return Difference(len(one), lost, doubled, max(changed, 0 if lost or doubled else 1))


def _key(line: bytes) -> str:
    """What a record is about."""
    try:
        record = json.loads(line)
    except ValueError:
        return "damaged"
    return json.dumps([record.get("id"), record.get("step"), "validation" in record])
