"""The queries: titles or any other texts, in any known format."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from magic_cli.data.json_files import holds_json, parse_records, whole_characters
from magic_cli.data.paths import ending, expanded, named_paths
from magic_cli.data.record_fields import first_key, item_id, one_text
from magic_cli.data.story_files import is_story_file
from magic_cli.data.text_files import read_text, text_lines
from magic_cli.data.text_tables import is_named_csv, is_story_header, titled_rows
from magic_cli.errors import MagicError

_KEYS = ("query", "title", "prefix_text", "text", "caption")
_HINT = "one query a line, ROCStories' title<TAB>story, JSON with a title or query, or a released story file"
_SEPARATOR = "<|endoftext|>"


def load_queries(files: Sequence[str], texts: Sequence[str]) -> list[dict[str, str]]:
    """Queries from files and the command line, as ``[{"id", "query"}]``. The id is the file's own, or the number of the query.

    Raises:
        MagicError: A file is missing or malformed, or there are no queries.
    """
    found = [{"id": str(number), "query": text} for number, text in enumerate(texts, start=1)]
    for word in files:
        paths = named_paths(word, setting="files")
        if not paths:
            raise MagicError(
                f"{word}: no such file (looked at {expanded(word).absolute()}); for a text, type --query {shlex.quote(word)}; a file has {_HINT}"
            )
        for path in paths:
            found += _of_file(path, first=len(found) + 1)
    queries = [{**entry, "query": " ".join(whole_characters(entry["query"]).split())} for entry in found]
    for entry in queries:
        if not entry["query"]:
            raise MagicError(f"query {entry['id']} is empty; remove it")
    if not queries:
        raise MagicError(f"{' '.join(files)}: holds no queries; {_HINT}")
    return queries


def released_title(title: str) -> str:
    """The title that the released code really looks for.

    It removes the separator from the prompt (title + " " + separator) with ``strip``, which takes a set of letters. So it also
    removes letters of "<|endoftext|>" from the front of the title.

    >>> released_title("the squirrel"), released_title("The end")
    ('he squirrel', 'The end')
    """
    return f"{title} {_SEPARATOR}".strip(_SEPARATOR).strip()


def _of_file(path: Path, *, first: int) -> list[dict[str, str]]:
    is_named_json = ending(path) in (".json", ".jsonl")
    text = read_text(path, setting="files", hint=_HINT)
    records: Any = None
    if is_named_json or holds_json(text) or is_named_csv(path):
        records = parse_records(text, path, setting="files", hint=_HINT)
    elif not any(is_story_header(line) for _, line in islice(text_lines(text), 1)):
        records = titled_rows(text, f"files={path}", _KEYS)
    if records is None:
        lines = [line for number, line in text_lines(text) if number > 1 or not is_story_header(line)]
        return [{"id": str(first + i), "query": line.partition("\t")[0]} for i, line in enumerate(lines)]
    records = records["evaluation_result"] if is_story_file(records) else records
    records = records if isinstance(records, list) else [records]
    return [_of_record(record, first + i, f"{path} record {i + 1}") for i, record in enumerate(records)]


def _of_record(record: Any, number: int, place: str) -> dict[str, str]:
    if isinstance(record, str):
        return {"id": str(number), "query": record}
    key = first_key(record, _KEYS) if isinstance(record, dict) else None
    if key is None:
        raise MagicError(f"{place}: has no query ({', '.join(_KEYS)}); {_HINT}")
    text = one_text(record[key], f"{place}, {key}")
    return {
        "id": item_id(number if record.get("id") is None else record["id"], f"{place}: id"),
        "query": text.partition(_SEPARATOR)[0],
    }
