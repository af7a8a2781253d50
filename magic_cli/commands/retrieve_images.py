"""magic retrieve-images: build an index of images, or find the images that fit texts."""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from magic_cli.data.images import UnreadableImage, quiet_pillow
from magic_cli.data.paths import make_output
from magic_cli.errors import MagicError
from magic_cli.files import json_lines, write_atomically
from magic_cli.provenance import provenance
from magic_cli.retrieval.image_settings import EMBEDDED, NONE, RELEASED, RetrieveImagesAction, RetrieveImagesSettings
from magic_cli.retrieval.query_identity import MANIFEST, RESULTS, query_identity, refuse_other_results
from magic_cli.terminal.streams import print_line
from magic_cli.terminal.wording import counted, duration, speed

DONE, SOME_FAILED = 0, 3
SHEET = "contact_sheet.html"
_SHOWN_FAILURES = 10


def run(settings: RetrieveImagesSettings) -> int:
    """Build or query; returns 0, or 3 if some images could not be read."""
    quiet_pillow()
    return _build(settings) if settings.action is RetrieveImagesAction.build else _query(settings)


def _build(settings: RetrieveImagesSettings) -> int:
    from magic_cli.retrieval.bank import list_images

    bank = list_images(settings.files, limit=settings.limit)  # before torch loads, because images may be missing

    from magic_cli.retrieval.store import FAILURES
    from magic_cli.runs.image_bank import build_index

    for note in bank.notes:
        _tell(note)
    began = time.monotonic()
    index, new = build_index(settings, bank)
    manifest = index.manifest
    for failure in itertools.islice(index.failures(), _SHOWN_FAILURES):
        _tell(f"not in the index: {failure['id']}: {failure['reason']}")
    if manifest["failures"] > _SHOWN_FAILURES:
        _tell(f"... and {manifest['failures'] - _SHOWN_FAILURES} more, see {settings.index_folder / FAILURES}")
    failed = f", {counted(manifest['failures'], 'image')} could not be read" if manifest["failures"] else ""
    _tell(f"{counted(manifest['rows'], 'image')} in the index{failed}; {_spent(new, time.monotonic() - began)}")
    print_line(str(settings.index_folder))
    return SOME_FAILED if manifest["failures"] else DONE


def _spent(new: int, seconds: float) -> str:
    return f"{new:,} looked at in {duration(seconds)}: {speed(new, seconds, 'image')}" if new else "nothing new"


def _query(settings: RetrieveImagesSettings) -> int:
    from magic_cli.retrieval.queries import load_queries, released_title

    queries = load_queries(settings.files, settings.queries)  # before the model loads, because files may be missing

    from magic_cli.retrieval.features import Features

    features = Features(settings.index_folder, "index", check=False)  # only its manifest is needed; ImageIndex checks the files
    if (kind := features.manifest["identity"].get("kind")) != "images":
        raise MagicError(
            f"index={settings.index}: holds {kind or 'something else'}, not images; name an index that `magic retrieve-images build` made"
        )
    identity = query_identity(settings, queries, features.digest)
    folder = settings.output_folder(identity)
    refuse_other_results(folder, identity)

    from magic_cli.retrieval.image_index import ImageIndex, describe

    index = ImageIndex(settings)
    texts = [released_title(q["query"]) if settings.titles == RELEASED else q["query"] for q in queries]
    found, seconds = index.query(texts, settings.top_k)
    make_output(folder)
    results = [{**query, "images": [_named(item, folder) for item in items]} for query, items in zip(queries, found, strict=True)]
    manifest = {
        **provenance(), "question": identity, "index": describe(index, settings), "model": index.model_facts, "search": asdict(settings.search),
        "queries": len(queries), "seconds": {name: round(value, 6) for name, value in seconds.items()},
    }  # fmt: skip
    write_atomically(
        folder / MANIFEST, json.dumps(manifest, indent=2) + "\n"
    )  # before the results: after a kill, it is known which query they answer
    write_atomically(folder / RESULTS, json_lines(results))
    _write_sheet(results, folder, settings)
    _say(results)
    page = f", page: {folder / SHEET}" if settings.contact_sheet != NONE else ""
    _tell(
        f"{counted(len(queries), 'query')} in {duration(sum(seconds.values()))}, {1000 * seconds['searching'] / len(queries):.2f} ms each to search; results in {folder}{page}"
    )
    return DONE


def _named(item: dict[str, Any], folder: Path) -> dict[str, Any]:
    """An entry of retrieved.jsonl. An image in a shard is written to a file, so that other commands can open it."""
    path = item["image"]
    if "offset" in item:
        path = _extract(item, folder)
    return {"image": path, "id": item["id"], "score": item["score"]}


def _extract(item: dict[str, Any], folder: Path) -> str:
    from magic_cli.retrieval.bank import BankImage

    name = Path("images", f"{item['sha256'][:24]}{Path(item['id']).suffix.lower()}")
    file, image = folder / name, BankImage(item["id"], item["image"], item["offset"], item["size"])
    try:
        data = image.file.read_bytes()
    except UnreadableImage as error:
        raise MagicError(f"{item['image']}: {error}; the shards must stay where the index was built from them") from error
    file.parent.mkdir(exist_ok=True)
    if not file.exists():
        temporary = file.with_name(f".{file.name}.tmp")
        temporary.write_bytes(data)
        temporary.replace(file)
    return str(name)


def _write_sheet(results: Sequence[dict[str, Any]], folder: Path, settings: RetrieveImagesSettings) -> None:
    if settings.contact_sheet == NONE:
        (folder / SHEET).unlink(missing_ok=True)  # from an earlier start
        return
    from magic_cli.reports.contact_sheet import contact_sheet

    shown = results[: settings.contact_sheet_queries]
    page = contact_sheet(shown, folder, total=len(results), embedded=settings.contact_sheet == EMBEDDED)
    write_atomically(folder / SHEET, page)


def _say(results: Sequence[dict[str, Any]]) -> None:
    """Print ``name<TAB>score``, best first; with several queries, each line begins with its query."""
    for result in results:
        for image in result["images"]:
            columns = [result["query"]] * (len(results) > 1) + [image["id"], f"{image['score']:.6f}"]
            print_line(*columns)


def _tell(note: str) -> None:
    print(f"magic: {note}", file=sys.stderr)
