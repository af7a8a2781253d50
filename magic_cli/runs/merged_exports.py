"""The exports of a merged run: files for other tools and for people, made of those of the parts, which must all have the same ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from magic_cli.data.json_files import read_json
from magic_cli.data.named_images import ImageRoot
from magic_cli.data.parquet import require_pyarrow
from magic_cli.data.parquet_export import ParquetRows
from magic_cli.data.run_files import PREDICTIONS
from magic_cli.data.stories import StoryRecord
from magic_cli.errors import MagicError
from magic_cli.files import JsonList, recover_lines, recovered_items
from magic_cli.reports.exports import released_stories
from magic_cli.reports.interleaved import interleaved_page
from magic_cli.runs.folder import PAGE, PARQUET
from magic_cli.runs.parts import WRITE_AGAIN, Part

REMEDY = "start the command of this part again"
_LISTS = ("coco_results.json", "released_format.json")


def merged_exports(parts: Sequence[Part], folder: Path) -> Iterator[tuple[str, Any]]:
    """What to write: (name, document).

    Args:
        parts: All parts.
        folder: Holds the predictions of all.

    Raises:
        MagicError: A part's file is damaged, or holds more or fewer texts than the part has.
    """
    for name in _LISTS:
        if not (parts[0].folder / name).is_file():
            continue
        if _is_list(parts[0].folder / name):
            yield name, JsonList(partial(_entries, parts, name))
        else:  # stories for several images of a title may stand in two parts
            yield name, _stories(folder, _method(parts[0].folder / name))
    if writes_parquet(parts):
        yield PARQUET, ParquetRows(lambda: (record for _, _, record in recovered_items(folder / PREDICTIONS, REMEDY)))
    page = parts[0].settings.get("page", {})
    if page.get("kind", "none") != "none":
        records = recover_lines(folder / PREDICTIONS)
        shown, embedded = records[: page["items"]], page["kind"] == "embedded"
        yield PAGE, interleaved_page(shown, folder, total=len(records), embedded=embedded)


def check_exports(parts: Sequence[Part]) -> None:
    """Make sure that the exports of all parts can be put together, before anything is written.

    Raises:
        MagicError: One part has an export that another has not, or pyarrow is missing.
    """
    for name in _LISTS:
        has = {(part.folder / name).is_file(): part.folder for part in reversed(parts)}
        if len(has) == 2:
            raise MagicError(f"runs: {has[False]} has no {name}, and {has[True]} has one; {REMEDY}, or copy the file there")
    if writes_parquet(parts):
        require_pyarrow("run.parquet=true")


def writes_parquet(parts: Sequence[Part]) -> bool:
    """Whether the predictions are written as Parquet, too; it is enough that one part asked for it."""
    return any(part.settings.get("run", {}).get("parquet") is True or (part.folder / PARQUET).is_file() for part in parts)


def _is_list(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(1) == b"["


def _entries(parts: Sequence[Part], name: str) -> Iterator[Any]:
    """The entries of a list, one part after the other."""
    for part in parts:
        file, wanted = part.folder / name, part.manifest["counts"]["predictions"]
        entries = read_json(file, setting="runs", hint=REMEDY)
        if not isinstance(entries, list) or len(entries) != wanted:
            found = f"{len(entries):,} entries" if isinstance(entries, list) else "no list"
            raise MagicError(f"{file}: holds {found}, and manifest.json says {wanted:,}; {REMEDY}")
        yield from entries


def _method(file: Path) -> str:
    """The name of the method in a file of stories."""
    document = read_json(file, setting="runs", hint=REMEDY)
    if not isinstance(document, dict) or not isinstance(document.get("decoding_method"), str):
        raise MagicError(f"{file}: has no decoding_method that is a text; {REMEDY}")
    return document["decoding_method"]


def _stories(folder: Path, method: str) -> dict[str, Any]:
    predictions = recover_lines(folder / PREDICTIONS)
    for number, line in enumerate(predictions, start=1):
        if not all(isinstance(line.get(key), str) for key in ("id", "title_id", "title", "story")):
            raise MagicError(f"{folder / PREDICTIONS} line {number}: is no story with id, title_id and title; {WRITE_AGAIN}")
    records = [
        StoryRecord(
            id=line["id"],
            title_id=line["title_id"],
            title=line["title"],
            path=ImageRoot("", follows=True).image(line["image"]) if "image" in line else None,
            rank=line.get("rank"),
            reference=line.get("reference"),
        )
        for line in predictions
    ]
    return released_stories(records, {line["id"]: line["story"] for line in predictions}, method=method)
