"""How the files of a run are written and read, so that no crash leaves half of one; and what made them."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from magic_cli import __version__
from magic_cli.data import run_files
from magic_cli.data.json_text import JSONFault, parse_object
from magic_cli.errors import MagicError

_RECORDED_PACKAGES = ("torch", "torchvision", "transformers", "tokenizers", "open_clip_torch", "clip-anytorch", "pillow", "numpy", "hydra-core")


def read_manifest(path: Path, identity: dict[str, Any]) -> dict[str, Any]:
    """The manifest of a run folder that has one.

    Raises:
        MagicError: It is damaged, or of a run with other settings.
    """
    manifest = run_files.read_manifest(path / "manifest.json", remedy="set another run.dir, or delete this folder")
    before = manifest.get("identity")
    if before != json.loads(json.dumps(identity, default=str)):
        changed = "; ".join(differences(before, identity)) or "other settings"
        raise MagicError(f"run.dir={path}: holds a run with other settings ({changed}); set another run.dir, or delete this folder")
    return manifest


def recover_lines(file: Path, *, remedy: str = "remove that line, its item is then done again") -> list[dict[str, Any]]:
    """Read a JSONL file that may end mid-line, and cut that unfinished end off.

    Args:
        file: The file; one that is not there is empty.
        remedy: What the user can do about a damaged line.

    Raises:
        MagicError: A line other than the last is damaged.
    """
    if not file.exists():
        return []
    data = file.read_bytes()
    complete = data.rfind(b"\n") + 1
    records: list[dict[str, Any]] = []
    for number, line in enumerate(data[:complete].splitlines(), start=1):
        try:
            records.append(parse_object(line))
        except JSONFault as fault:
            raise MagicError(f"{file} line {number}: {fault.problem}; {remedy}") from None
    if complete < len(data):
        os.truncate(file, complete)
    return records


def append_lines(file: Path, records: Sequence[dict[str, Any]]) -> None:
    """Append records as JSON lines in one write, synced to disk."""
    if records:
        append_bytes(file, json_lines(records).encode(errors="backslashreplace"))  # see write_atomically


def append_bytes(file: Path, data: bytes) -> None:
    """Append to a file, synced to disk.

    Raises:
        OSError: Not all of it could be written.
    """
    with file.open("ab", buffering=0) as stream:
        while data:  # a disk that is filling up takes a part and says nothing; asked for the rest, it does
            data = data[stream.write(data) :]
        os.fsync(stream.fileno())


def write_atomically(file: Path, text: str) -> None:
    """Replace a file so that a reader, or a crash, sees either the old or the new one."""
    temporary = file.with_name(f".{file.name}.tmp")
    # a file name that is no UTF-8 holds lone surrogates; backslashreplace writes them as JSON's own \uXXXX escapes
    with temporary.open("w", encoding="utf-8", errors="backslashreplace") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(file)


def json_lines(records: Iterable[dict[str, Any]]) -> str:
    """Records as JSON, one a line."""
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def differences(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """``name old -> new`` for every value that differs."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in dict.fromkeys([*before, *after]):
            yield from differences(before.get(key), after.get(key), f"{path}.{key}" if path else str(key))
    elif before != after:
        yield f"{path} {_short(before)} -> {_short(after)}"


def _short(value: Any) -> str:
    """A value as an error message shows it; of a hash the first digits will do."""
    text = str(value)
    return f"{text[:12]}..." if len(text) > 60 else text


def provenance() -> dict[str, Any]:
    """What made a result: versions of magic and of the packages that matter, revision of the checkout, platform."""
    return {
        "magic": __version__,
        "git_revision": _git_revision(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _RECORDED_PACKAGES},
        "platform": platform.platform(),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_revision() -> str | None:
    """Commit of the checkout that runs, with ``-dirty`` if it has changes; None outside a checkout."""
    here = Path(__file__).resolve().parent
    if not (here.parent / ".git").exists():
        return None
    try:
        command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None  # no git here: the revision is unknown
