"""`magic merge-runs`: the parts of a data set, written one by one, become the run folder that the whole would have made."""

from __future__ import annotations

import io
import json
import shutil
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from magic_cli.data.json_text import JSONFault, parse_object
from magic_cli.data.paths import expanded
from magic_cli.data.run_files import FAILURES, PREDICTIONS, REPORT, SETTINGS, TRACE, read_manifest
from magic_cli.errors import MagicError
from magic_cli.files import locked, replacing, write_atomically, write_document
from magic_cli.provenance import provenance
from magic_cli.runs.claims import note_traces, true_of_traces
from magic_cli.runs.folder import EXPORTS
from magic_cli.runs.merged_exports import REMEDY, check_exports, merged_exports, writes_parquet
from magic_cli.runs.parts import WRITE_AGAIN, Part
from magic_cli.terminal.wording import counted

_PICTURES = "images"
"""Folder of the images that a run drew."""
_OF_PARTS = ("shard", "batch_size")
"""What only the manifest of a part says; ``merged`` keeps the sizes of batches."""


@dataclass(frozen=True)
class Merged:
    """What a merge has made.

    Attributes:
        counts: Those of its manifest.
        notes: Lines about what it lacks.
    """

    counts: dict[str, int]
    notes: list[str]


def merge(parts: Sequence[Part], output: str) -> Merged:
    """Make one run folder of all parts; a merge that was killed is begun anew, and one that is done is left as it is.

    Args:
        parts: As ``read_parts`` gives them.
        output: The folder.

    Raises:
        MagicError: The folder holds another run already, a file of a part is damaged or missing, or an item stands in two parts.
    """
    folder = expanded(output, "output")
    with locked(folder, setting="output"):
        manifest = _manifest(parts)
        is_done = _is_done(folder, manifest)
        check_exports(parts)
        texts = _check_items(parts)
        traces = _traces(parts, texts)
        merged = Merged(manifest["counts"], _notes(parts, texts, traces))
        if is_done:
            return merged
        write_atomically(folder / "manifest.json", _json(manifest | {"status": "merging"}))
        for name in (TRACE, *EXPORTS):  # of a merge that was killed, and may have had other parts
            (folder / name).unlink(missing_ok=True)
        for name in (PREDICTIONS, FAILURES, *([TRACE] if traces else [])):
            _join(name, parts, folder)
        _copy_pictures(parts, folder)
        for name, document in merged_exports(parts, folder):
            write_document(folder / name, document)
        write_atomically(folder / SETTINGS, _settings(parts, true_of_traces(texts, traces) if texts else {}))
        write_atomically(folder / "manifest.json", _json(manifest))
    return merged


def _notes(parts: Sequence[Part], texts: Mapping[str, Path], traces: Mapping[str, bool]) -> list[str]:
    """Lines about what the merged folder does not have, and some parts do."""
    notes = []
    if traces and (untraced := [item for item in texts if item not in traces]):
        which = counted(len(untraced), "text has", "texts have")
        notes.append(f"{which} no trace, e.g. {untraced[0]} of {texts[untraced[0]].parent}; the traces of the others are kept")
    if any((part.folder / REPORT).is_file() for part in parts):
        notes.append(f"{REPORT} of each part is left out; `magic report` makes one of the merged folder")
    return notes


def _traces(parts: Sequence[Part], texts: Collection[str]) -> dict[str, bool]:
    """For each text with a trace, whether the trace is complete.

    Raises:
        MagicError: A line of a trace is damaged, or about no text.
    """
    traces: dict[str, bool] = {}
    for part in parts:
        file = part.folder / TRACE
        with file.open("rb") if file.exists() else io.BytesIO() as stream:
            for number, line in enumerate(stream, start=1):
                place = f"{file} line {number}"
                step = _record(line, place, f"delete this {TRACE}; the texts stay")
                if step["id"] not in texts:
                    raise MagicError(f"{place}: there is no text of {step['id']!r}; delete this {TRACE}; the texts stay")
                note_traces(traces, [step])
    return traces


def _check_items(parts: Sequence[Part]) -> dict[str, Path]:
    """Make sure that each item stands in one line of one part, with the images that were drawn for it.

    Returns:
        The items with a text, each with the file that has it.

    Raises:
        MagicError: Names the file and the line.
    """
    seen: dict[str, Path] = {}
    for part in parts:
        for file in (part.folder / PREDICTIONS, part.folder / FAILURES):
            _checked_lines(file, part)
            with file.open("rb") if file.exists() else io.BytesIO() as stream:
                for number, line in enumerate(stream, start=1):
                    place = f"{file} line {number}"
                    item = _item(line, place, part)
                    if item in seen:
                        raise MagicError(f"{place}: the id {item!r} stands in {seen[item]}, too; {WRITE_AGAIN}")
                    seen[item] = file
    return {item: file for item, file in seen.items() if file.name == PREDICTIONS}


def _record(line: bytes, place: str, remedy: str) -> dict[str, Any]:
    """The object of a line, with its id."""
    try:
        record = parse_object(line)
    except JSONFault as fault:
        raise MagicError(f"{place}: {fault.problem}; {remedy}") from None
    if not isinstance(record.get("id"), str):
        raise MagicError(f"{place}: has no id that is a text; {remedy}")
    return record


def _item(line: bytes, place: str, part: Part) -> str:
    """The id of a line, whose images are there."""
    record = _record(line, place, WRITE_AGAIN)
    steps = record.get("steps")
    for step in steps if isinstance(steps, list) else ():
        image = step.get("image") if isinstance(step, dict) else None
        if isinstance(image, str) and not (part.folder / image).is_file():
            raise MagicError(f"{place}: its image {part.folder / image} is missing; {REMEDY}")
    return record["id"]


def _is_done(folder: Path, manifest: Mapping[str, Any]) -> bool:
    """Whether the folder holds the run with this manifest already, such as after a kill at the last moment.

    Raises:
        MagicError: It holds something else.
    """
    file = folder / "manifest.json"
    if file.exists():
        found = read_manifest(file, remedy="set output to another folder, or delete this one")
        if found.get("status") == "merging":
            return False
        ours = json.loads(json.dumps(manifest, default=str))
        if all(found.get(name) == ours.get(name) for name in (found.keys() | ours.keys()) - provenance().keys()):
            return True
    if file.exists() or (folder / PREDICTIONS).exists():
        raise MagicError(f"output={folder}: holds a run already; set output to another folder, or delete this one")
    for name in (FAILURES, SETTINGS, TRACE, *EXPORTS):  # somebody's own, which a merge would overwrite or delete
        if (folder / name).exists():
            raise MagicError(f"output={folder}: holds another {name}; set output to another folder, or move that file")
    return False


def _manifest(parts: Sequence[Part]) -> dict[str, Any]:
    """That of the whole run: counts added up, the starts of all parts."""
    merged = {key: value for key, value in parts[0].manifest.items() if key not in _OF_PARTS} | provenance()
    merged["models"] = next((part.manifest["models"] for part in parts if part.manifest.get("models")), {})
    for key in ("counts", "stories_by_rank"):
        if any(key in part.manifest for part in parts):  # a part without items has no ranks
            total: Counter[str] = Counter()
            for part in parts:
                total.update(part.manifest.get(key, {}))
            merged[key] = dict(total)
    if "image_files" in merged:  # only files that were the same for all parts need not be looked at again
        states = [part.manifest.get("image_files", {}) for part in parts]
        merged["image_files"] = {
            place: state for place, state in states[0].items() if all(other.get(place) == state for other in states)
        }
    if "steps" in merged:
        merged["steps"] = sum(part.manifest.get("steps", 0) for part in parts)
    merged["sessions"] = [session for part in parts for session in part.manifest["sessions"]]
    sizes = {str(part.folder): part.manifest["batch_size"] for part in parts if "batch_size" in part.manifest}
    found = {"batch_size": sizes} if sizes else {}
    return merged | {"merged": {"parts": [str(part.folder) for part in parts], **found}}


def _join(name: str, parts: Sequence[Part], folder: Path) -> None:
    """One file of all parts, piece by piece, however large it is."""
    with replacing(folder / name) as whole:
        for part in parts:
            if (file := part.folder / name).exists():
                with file.open("rb") as stream:
                    shutil.copyfileobj(stream, whole)


def _checked_lines(file: Path, part: Part) -> None:
    """Require as many lines of texts, or of failures, as the part has said."""
    lines = 0
    if file.exists():
        with file.open("rb") as stream:
            lines = sum(chunk.count(b"\n") for chunk in iter(lambda: stream.read(1 << 20), b""))
    counts = part.manifest["counts"]
    wanted = counts["predictions"] if file.name == PREDICTIONS else counts["failures"] + counts.get("skipped", 0)
    if lines != wanted:
        raise MagicError(f"{file}: has {lines:,} lines, and manifest.json says {wanted:,}; {REMEDY}")


def _copy_pictures(parts: Sequence[Part], folder: Path) -> None:
    for part in parts:
        for file in sorted((part.folder / _PICTURES).glob("*.png")):
            (folder / _PICTURES).mkdir(exist_ok=True)
            shutil.copy2(file, folder / _PICTURES / file.name)


def _settings(parts: Sequence[Part], of_traces: Mapping[str, bool]) -> str:
    """Those of the first part, with what is true of the whole."""
    import yaml

    settings = parts[0].settings
    run = {**settings.get("run", {}), "shard": None, "parquet": writes_parquet(parts), **of_traces}
    return yaml.safe_dump({**settings, "run": run}, sort_keys=False, allow_unicode=True)


def _json(manifest: dict[str, Any]) -> str:
    return json.dumps(manifest, indent=2, default=str) + "\n"
