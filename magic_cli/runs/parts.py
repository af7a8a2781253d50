"""The run folders of the parts of a data set, checked: all parts, each once, complete, and of one run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from magic_cli.data.paths import named_paths
from magic_cli.data.run_files import MANIFEST, SETTINGS, read_manifest, read_settings, refuse_without_texts
from magic_cli.errors import MagicError
from magic_cli.models.sources import each_only_read
from magic_cli.provenance import differences
from magic_cli.runs.shards import Shard
from magic_cli.terminal.wording import counted

WRITE_AGAIN = "write this part again in a new folder"
_SHOWN = 5


@dataclass(frozen=True)
class Part:
    """One part's run folder, with its manifest.json and settings.yaml."""

    folder: Path
    manifest: dict[str, Any]
    settings: dict[str, Any]

    @property
    def number(self) -> int:
        """Which part it is, from 1."""
        return self.manifest["shard"]["part"]


def read_parts(words: Sequence[str]) -> list[Part]:
    """All parts of a run, in their order.

    Args:
        words: Folders and patterns.

    Raises:
        MagicError: A part is missing, unfinished or given twice, a folder is no part, or two are of different runs; the message says which.
    """
    folders = dict.fromkeys(folder for word in words for folder in _named(word))
    parts = sorted((_read(folder) for folder in folders), key=lambda part: part.number)
    # a part without a readable image loads no models
    first = next((part for part in parts if part.manifest.get("models")), parts[0])
    for part in parts:
        _require_same(first, part)
    for part, other in zip(parts, parts[1:], strict=False):
        if part.number == other.number:
            raise MagicError(f"runs: {part.folder} and {other.folder} are both part {part.number}; leave one of them out")
    count = first.manifest["shard"]["parts"]
    missing = sorted(set(range(1, count + 1)) - {part.number for part in parts})
    if missing:
        named = ", ".join(map(str, missing[:_SHOWN])) + (", ..." if len(missing) > _SHOWN else "")
        which = f"part {named} of {count} is" if len(missing) == 1 else f"parts {named} of {count} are"
        raise MagicError(f"runs: {which} missing; write it with run.shard={missing[0]}/{count}, or name its folder")
    return parts


def _named(word: str) -> list[Path]:
    found = named_paths(word, setting="runs")
    if not found:
        raise MagicError(f"runs: {word} names no folder; correct the path or the pattern")
    return found


def _read(folder: Path) -> Part:
    file = folder / MANIFEST
    if not file.is_file():
        refuse_without_texts(folder, "runs")
        raise MagicError(f"runs: {folder} is no run folder (it has no manifest.json); leave it out, or correct the path")
    manifest = read_manifest(file, remedy=WRITE_AGAIN)
    shard = manifest.get("shard")
    if shard is None:
        if "counts" in manifest:  # a start that was killed early has not said which part it writes
            refuse_without_texts(folder, "runs")
        whole = ", but a whole one" if "counts" in manifest else ""  # else the folder of another command
        raise MagicError(f"runs: {folder} is no part of a run{whole}; parts are written with run.shard=i/n")
    manifest = read_manifest(file, remedy=WRITE_AGAIN, needs=("identity", "status", "counts", "sessions"))
    counts, part = manifest["counts"], Shard(shard["part"], shard["parts"])
    for key in ("planned", "predictions", "failures"):
        if key not in counts:
            raise MagicError(f"{file}: counts has no {key}; {WRITE_AGAIN}")
    done, name = counts["predictions"] + counts["failures"] + counts.get("skipped", 0), f"{part.number}/{part.count}"
    if manifest["status"] != "complete" or done != counts["planned"]:
        raise MagicError(
            f"runs: {folder} is not finished: {done:,} of {counts['planned']:,} items are done; start its command with run.shard={name} again"
        )
    if counts["planned"] != (items := len(part.cut(range(shard["items"])))):
        raise MagicError(
            f"runs: {folder} holds {counted(counts['planned'], 'item')}, but part {part.number} of {part.count} has {items:,}; {WRITE_AGAIN}"
        )
    return Part(folder, manifest, _settings(folder / SETTINGS))


def _settings(file: Path) -> dict[str, Any]:
    """The content of settings.yaml; its group ``page``, if there is one, has what the page is made by."""
    settings = read_settings(file, remedy=WRITE_AGAIN)
    page = settings.get("page", {})
    if not isinstance(page, dict) or (page and not (isinstance(page.get("kind"), str) and type(page.get("items")) is int)):
        raise MagicError(f"{file}: page must have kind and items, got {str(page)[:60]!r}; {WRITE_AGAIN}")
    return settings


def _require_same(one: Part, other: Part) -> None:
    """Refuse parts of different runs.

    Raises:
        MagicError: They are; the message says where they differ.
    """
    compared = [
        ({**part.manifest["shard"], "part": None, "ids_sha256": None}, part.manifest["identity"]) for part in (one, other)
    ]
    (shard, identity), (other_shard, other_identity) = compared
    models, other_models = (each_only_read(part.manifest.get("models", {})) for part in (one, other))
    changed = [*differences(shard, other_shard, "run.shard"), *differences(identity, other_identity)]
    if models and other_models:  # as above
        changed += differences(models, other_models)
    if changed:
        raise MagicError(
            f"runs: {one.folder} and {other.folder} are of different runs ({'; '.join(changed)}); merge parts of one run only"
        )
    if one.manifest["shard"].get("ids_sha256") != other.manifest["shard"].get("ids_sha256"):
        raise MagicError(
            f"runs: the data set had other items when {other.folder} was written than for {one.folder}; start the commands of all parts again"
        )
