"""Run folders: what was asked, what came out, and how; written so that no crash loses or repeats an item.

    settings.yaml       all settings, resolved
    manifest.json       versions, models, device, counts, seconds
    predictions.jsonl   one finished item a line, appended and synced batch by batch
    failures.jsonl      items that cannot be done, with the reason
    trace.jsonl         with run.trace=true, every step's candidates and scores
    coco_results.json, released_format.json   exports, written when all is done
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from magic_cli import __version__
from magic_cli.data.json_files import read_json_object
from magic_cli.data.json_text import JSONFault, parse_object
from magic_cli.errors import MagicError
from magic_cli.locking import locked

PREDICTIONS, FAILURES, TRACE = "predictions.jsonl", "failures.jsonl", "trace.jsonl"

_RECORDED_PACKAGES = ("torch", "torchvision", "transformers", "tokenizers", "open_clip_torch", "clip-anytorch", "pillow", "numpy", "hydra-core")


class RunFolder:
    """One run's folder, locked for this process; use as a context manager.

    Args:
        path: The folder; made if it does not exist.
        settings: All settings as plain values, for settings.yaml.
        identity: The settings that can change a result; a folder is only ever continued with the same.
        planned: Items that the run is to do.

    Raises:
        MagicError: Another process works in the folder, it belongs to other settings, or a file in it is damaged.
    """

    def __init__(self, path: Path, *, settings: dict[str, Any], identity: dict[str, Any], planned: int) -> None:
        self.path = path
        self.manifest: dict[str, Any] = {}
        self._settings, self._identity, self._planned = settings, identity, planned
        self._started = time.time()

    def __enter__(self) -> RunFolder:
        with contextlib.ExitStack() as stack:
            stack.enter_context(locked(self.path))
            self._read_manifest()
            self.predictions = {record["id"]: record for record in recover_lines(self.path / PREDICTIONS)}
            self._forget_unfinished_traces()
            write_atomically(self.path / FAILURES, "")  # each start tries failed items again
            self.failures: list[dict[str, Any]] = []
            self._begin_manifest()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        if kind is not None:
            self.manifest["status"] = "interrupted"
        self.write_manifest()
        self._stack.close()

    def _read_manifest(self) -> None:
        file = self.path / "manifest.json"
        if not file.exists():
            if (self.path / PREDICTIONS).exists():
                raise MagicError(f"run.dir={self.path}: holds predictions but no manifest.json, so it is not known what they are; set another run.dir")
            return
        self.manifest = read_manifest(self.path, self._identity)

    def _begin_manifest(self) -> None:
        import yaml

        self.manifest |= {
            **provenance(),
            "identity": self._identity,
            "status": "running",
        }
        self.manifest.setdefault("sessions", []).append({"started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())})
        write_atomically(self.path / "settings.yaml", yaml.safe_dump(self._settings, sort_keys=False, allow_unicode=True))
        self.write_manifest()

    def _forget_unfinished_traces(self) -> None:
        file = self.path / TRACE
        if not file.exists():
            return
        steps = recover_lines(file)
        kept = [step for step in steps if step["id"] in self.predictions]
        if len(kept) < len(steps):
            write_atomically(file, json_lines(kept))

    def use_models(self, models: dict[str, Any]) -> None:
        """Record the models' revisions and file hashes.

        Raises:
            MagicError: The folder was begun with models of the same name and other content.
        """
        before = self.manifest.get("models")
        if before is not None:
            self._refuse(differences(before, models))
        self.manifest["models"] = models
        self.write_manifest()

    def check_model_files(self, files: dict[str, dict[str, str]]) -> None:
        """Compare the files of local models, ``{model: {file: SHA-256}}``, with those the predictions here were made with.

        Raises:
            MagicError: They differ.
        """
        for model, digests in files.items():
            self._refuse(differences(self.manifest["models"][model].get("files"), digests, model))

    def _refuse(self, changes: Iterator[str]) -> None:
        changed = "; ".join(changes)
        if changed and self.predictions:
            raise MagicError(f"run.dir={self.path}: was begun with other model files ({changed}); set another run.dir, or delete this folder")

    def forget(self, ids: Collection[str]) -> None:
        """Take predictions back, because what they describe has changed."""
        self.predictions = {item: record for item, record in self.predictions.items() if item not in ids}
        write_atomically(self.path / PREDICTIONS, json_lines(self.predictions.values()))
        self._forget_unfinished_traces()

    def replace(self, records: Sequence[dict[str, Any]]) -> None:
        """Put predictions in the places of those of the same ids."""
        self.predictions |= {record["id"]: record for record in records}
        write_atomically(self.path / PREDICTIONS, json_lines(self.predictions.values()))

    @property
    def traced(self) -> set[str]:
        """Ids of the items that have a trace."""
        return {step["id"] for step in recover_lines(self.path / TRACE)}

    def record(self, **facts: Any) -> None:
        """Note facts of this session (device, counts, seconds) in the manifest."""
        self.manifest["sessions"][-1] |= facts

    def add_predictions(self, records: Sequence[dict[str, Any]]) -> None:
        """Append finished items; when this returns they survive any crash."""
        append_lines(self.path / PREDICTIONS, records)
        self.predictions |= {record["id"]: record for record in records}

    def add_failures(self, records: Sequence[dict[str, Any]]) -> None:
        """Append items that cannot be done, with their ``reason``."""
        append_lines(self.path / FAILURES, records)
        self.failures += records

    def add_trace(self, steps: Sequence[dict[str, Any]]) -> None:
        """Append steps of items whose predictions follow."""
        append_lines(self.path / TRACE, steps)

    def finish(self, exports: dict[str, Any]) -> None:
        """Mark the run complete and write its exports (file name -> JSON document)."""
        for name, document in exports.items():
            write_atomically(self.path / name, json.dumps(document, ensure_ascii=False, indent=1) + "\n")
        self.manifest["status"] = "complete"

    def write_manifest(self) -> None:
        """Write manifest.json as it stands."""
        failed = [record for record in getattr(self, "failures", []) if not record.get("skipped")]
        self.manifest["counts"] = {
            "planned": self._planned,
            "predictions": len(getattr(self, "predictions", {})),
            "failures": len(failed),
            "skipped": len(getattr(self, "failures", [])) - len(failed),
        }
        self.manifest["sessions"][-1]["seconds"] = round(time.time() - self._started, 3)
        write_atomically(self.path / "manifest.json", json.dumps(self.manifest, indent=2, default=str) + "\n")


def read_manifest(path: Path, identity: dict[str, Any]) -> dict[str, Any]:
    """The manifest of a run folder that has one.

    Raises:
        MagicError: It is damaged, or of a run with other settings.
    """
    file = path / "manifest.json"
    manifest = read_json_object(file, remedy="set another run.dir, or delete this folder")
    before = manifest.get("identity")
    if before != json.loads(json.dumps(identity, default=str)):
        changed = "; ".join(differences(before, identity)) or "other settings"
        raise MagicError(f"run.dir={path}: holds a run with other settings ({changed}); set another run.dir, or delete this folder")
    return manifest


def recover_lines(file: Path) -> list[dict[str, Any]]:
    """Read a JSONL file that may end mid-line, and cut that unfinished end off.

    Raises:
        MagicError: A line other than the last is damaged, or an id stands there twice.
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
            raise MagicError(f"{file} line {number}: {fault.problem}; remove that line, its item is then done again") from None
    if complete < len(data):
        os.truncate(file, complete)
    if file.name == PREDICTIONS:
        _check_no_repeats(file, (record["id"] for record in records))
    return records


def _check_no_repeats(file: Path, ids: Iterable[str]) -> None:
    seen: set[str] = set()
    for number, item in enumerate(ids, start=1):
        if item in seen:
            raise MagicError(f"{file} line {number}: the id {item!r} stands here twice; remove one of the lines")
        seen.add(item)


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
