"""`magic merge-runs`: the parts of a data set, written one by one, become the run folder that the whole would have made."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from magic_cli.data.json_files import read_json
from magic_cli.data.paths import expanded
from magic_cli.data.run_files import FAILURES, PREDICTIONS, SETTINGS, TRACE, read_manifest
from magic_cli.data.stories import StoryRecord
from magic_cli.errors import MagicError
from magic_cli.files import locked, recover_lines, replacing, write_atomically, write_document
from magic_cli.provenance import provenance
from magic_cli.reports.exports import released_stories
from magic_cli.reports.interleaved import interleaved_page
from magic_cli.runs.folder import PAGE
from magic_cli.runs.parts import Part

_LISTS = ("coco_results.json", "released_format.json")
_PICTURES = "images"
"""Folder of the images that a run drew."""
_OF_PARTS = ("shard", "batch_size")
"""What only the manifest of a part says."""
_REMEDY = "start the command of this part again"


def merge(parts: Sequence[Part], output: str) -> dict[str, int]:
    """Make one run folder of all parts; a merge that was killed is begun anew. Returns the counts of its manifest.

    Args:
        parts: As ``read_parts`` gives them.
        output: The folder.

    Raises:
        MagicError: The folder holds a run already, or a file of a part is damaged.
    """
    folder = expanded(output, "output")
    with locked(folder, setting="output"):
        _refuse_other_run(folder)
        manifest = _manifest(parts)
        write_atomically(folder / "manifest.json", _json(manifest | {"status": "merging"}))
        for name in (PREDICTIONS, FAILURES, *([TRACE] if all(part.has_trace for part in parts) else [])):
            _join(name, parts, folder)
        _copy_pictures(parts, folder)
        for name, document in _exports(parts, folder):
            write_document(folder / name, document)
        write_atomically(folder / SETTINGS, _settings(parts[0]))
        write_atomically(folder / "manifest.json", _json(manifest))
    return manifest["counts"]


def _refuse_other_run(folder: Path) -> None:
    file = folder / "manifest.json"
    if file.exists():
        manifest = read_manifest(file, remedy="set output to another folder, or delete this one")
        if manifest.get("status") == "merging":
            return
    if file.exists() or (folder / PREDICTIONS).exists():
        raise MagicError(f"output={folder}: holds a run already; set output to another folder, or delete this one")


def _manifest(parts: Sequence[Part]) -> dict[str, Any]:
    """That of the whole run: counts added up, the starts of all parts."""
    merged = {key: value for key, value in parts[0].manifest.items() if key not in _OF_PARTS} | provenance()
    merged["models"] = next((part.manifest["models"] for part in parts if part.manifest.get("models")), {})
    for key in ("counts", "stories_by_rank"):
        if key in merged:
            total: Counter[str] = Counter()
            for part in parts:
                total.update(part.manifest.get(key, {}))
            merged[key] = dict(total)
    if "steps" in merged:
        merged["steps"] = sum(part.manifest["steps"] for part in parts)
    merged["sessions"] = [session for part in parts for session in part.manifest["sessions"]]
    return merged | {"merged": {"parts": [str(part.folder) for part in parts]}}


def _join(name: str, parts: Sequence[Part], folder: Path) -> None:
    """One file of all parts, piece by piece, however large it is."""
    lines = 0
    with replacing(folder / name) as whole:
        for part in parts:
            if (file := part.folder / name).exists():
                with file.open("rb") as stream:
                    shutil.copyfileobj(stream, whole)
                lines += _checked_lines(file, part)


def _checked_lines(file: Path, part: Part) -> int:
    """Lines of a file of texts, which must be as many as the part has said."""
    with file.open("rb") as stream:
        lines = sum(chunk.count(b"\n") for chunk in iter(lambda: stream.read(1 << 20), b""))
    counts = part.manifest["counts"]
    wanted = {PREDICTIONS: counts["predictions"], FAILURES: counts["failures"] + counts.get("skipped", 0)}.get(file.name, lines)
    if lines != wanted:
        raise MagicError(f"{file}: has {lines:,} lines, and manifest.json says {wanted:,}; {_REMEDY}")
    return lines


def _copy_pictures(parts: Sequence[Part], folder: Path) -> None:
    for part in parts:
        for file in sorted((part.folder / _PICTURES).glob("*.png")):
            (folder / _PICTURES).mkdir(exist_ok=True)
            shutil.copy2(file, folder / _PICTURES / file.name)


def _exports(parts: Sequence[Part], folder: Path) -> Iterator[tuple[str, Any]]:
    """The files for other tools and for people: (name, document)."""
    for name in _LISTS:
        documents = [_read(part.folder / name) for part in parts if (part.folder / name).is_file()]
        if documents and all(isinstance(document, list) for document in documents):
            yield name, [entry for document in documents for entry in document]
        elif documents:  # stories for several images of a title may stand in two parts
            yield name, _stories(folder, documents[0]["decoding_method"])
    page = parts[0].settings.get("page", {})
    if page.get("kind", "none") != "none":
        records = recover_lines(folder / PREDICTIONS)
        shown, embedded = records[: page["items"]], page["kind"] == "embedded"
        yield PAGE, interleaved_page(shown, folder, total=len(records), embedded=embedded)


def _read(file: Path) -> Any:
    return read_json(file, setting="runs", hint=_REMEDY)


def _stories(folder: Path, method: str) -> dict[str, Any]:
    predictions = recover_lines(folder / PREDICTIONS)
    records = [
        StoryRecord(
            id=line["id"],
            title_id=line["title_id"],
            title=line["title"],
            path=Path(line["image"]) if "image" in line else None,
            rank=line.get("rank"),
            reference=line.get("reference"),
        )
        for line in predictions
    ]
    return released_stories(records, {line["id"]: line["story"] for line in predictions}, method=method)


def _settings(part: Part) -> str:
    import yaml

    run = {key: value for key, value in part.settings.get("run", {}).items() if key != "shard"}
    return yaml.safe_dump({**part.settings, "run": {**run, "shard": None}}, sort_keys=False, allow_unicode=True)


def _json(manifest: dict[str, Any]) -> str:
    return json.dumps(manifest, indent=2, default=str) + "\n"
