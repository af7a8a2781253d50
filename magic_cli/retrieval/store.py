"""A folder of features, written batch by batch. A killed build continues where it stopped and ends with the same bytes.

manifest.json         what the features depend on; at the end also counts and the SHA-256 of every file
features-00000.bin    rows of E numbers each, scaled to length 1, little-endian; ``shard_rows`` rows per file
items.jsonl           the item of each row, one per line
failures.jsonl        inputs that have no feature, with the reason
progress.jsonl        how far the build has come, and the length of the files then; deleted at the end
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from magic_cli.data.json_text import parse_json
from magic_cli.errors import MagicError
from magic_cli.files import append_bytes, append_lines, hold, recover_lines, sha256, write_atomically
from magic_cli.provenance import differences

MANIFEST, ITEMS, FAILURES, PROGRESS = "manifest.json", "items.jsonl", "failures.jsonl", "progress.jsonl"
SHARD_ROWS = 100_000
DTYPES: dict[str, np.dtype] = {"float16": np.dtype("<f2"), "float32": np.dtype("<f4")}
_ANOTHER = "set another folder"
_FORMAT = 1  # raised whenever the files change
_START: dict[str, Any] = {"inputs": 0, "rows": 0, "dim": None, "failures": 0, "sizes": {ITEMS: 0, FAILURES: 0}}


def shard_file(folder: Path, number: int) -> Path:
    """The file that begins with row ``number * shard_rows``."""
    return folder / f"features-{number:05d}.bin"


class FeatureWriter:
    """Builds a folder of features. A context manager; it locks the folder for this process unless the build is complete.

    Args:
        folder: The folder; created if it does not exist.
        setting: The setting that names the folder, for error messages.
        identity: Everything that the features depend on, as plain JSON values. A folder is only continued with the same identity.
        dtype: ``float16`` or ``float32``.
        shard_rows: Rows per file.

    Attributes:
        is_complete: Whether the build is finished.
        inputs_done: How many inputs are finished, counted from the first.

    Raises:
        MagicError: The folder holds something else, cannot be written, or is damaged.
    """

    def __init__(
        self, folder: Path, setting: str, identity: Mapping[str, Any], *, dtype: str, shard_rows: int = SHARD_ROWS
    ) -> None:
        self.folder, self._setting = folder, setting
        self._identity = json.loads(json.dumps({"format": _FORMAT, **identity, "features": dtype, "shard_rows": shard_rows}))
        self._dtype, self._shard_rows = DTYPES[dtype], shard_rows
        self.is_complete = False

    def __enter__(self) -> FeatureWriter:
        # Before locking: nothing must be written into a folder of other things, and a finished one is only read.
        self.is_complete = self._is_complete(read_manifest(self.folder, self._setting))
        self._state = dict(_START)
        with contextlib.ExitStack() as stack:
            if not self.is_complete:
                self._begin(stack)
            self._stack = stack.pop_all()
        if self.is_complete:
            with contextlib.suppress(OSError):  # delete leftovers of a killed build; in a read-only folder they can stay
                (self.folder / PROGRESS).unlink(missing_ok=True)
        return self

    def _begin(self, stack: contextlib.ExitStack) -> None:
        """Lock the folder until the stack closes, and continue the build, unless another process has finished it meanwhile."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(hold(self.folder / ".lock", tell=self._tell_of_wait))
        except OSError as error:
            raise MagicError(
                f"{self._place}: cannot be written ({error.strerror}); set {self._setting} to another folder"
            ) from error
        manifest = read_manifest(self.folder, self._setting)
        self.is_complete = self._is_complete(manifest)
        if manifest is None:
            write_atomically(self.folder / MANIFEST, _document({"status": "building", "identity": self._identity}))
        if not self.is_complete:
            self._recover()

    def _is_complete(self, manifest: Mapping[str, Any] | None) -> bool:
        """Whether a folder with this manifest is finished.

        Raises:
            MagicError: It belongs to something else.
        """
        if manifest is not None and manifest["identity"] != self._identity:
            changed = "; ".join(differences(manifest["identity"], self._identity))
            raise MagicError(f"{self._place}: was built from something else ({changed}); set another folder, or delete this one")
        return manifest is not None and manifest["status"] == "complete"

    def __exit__(self, *error: Any) -> None:
        self._stack.close()

    @property
    def _place(self) -> str:
        return f"{self._setting}={self.folder}"

    @property
    def inputs_done(self) -> int:
        return self._state["inputs"]

    def _tell_of_wait(self, _: str) -> None:
        print(f"magic: {self._place}: another process builds it; waiting", file=sys.stderr)

    def _recover(self) -> None:
        """Cut the files back to the last batch that was written completely."""
        batches = recover_lines(self.folder / PROGRESS, remedy=f"delete {self.folder} and start again")
        if batches:
            self._state = batches[-1]
            if not _is_state(self._state):
                raise MagicError(f"{self.folder / PROGRESS}: is damaged; delete {self.folder} and start again")
        sizes = {self.folder / name: size for name, size in self._state["sizes"].items()}
        width = self._dtype.itemsize * (self._state["dim"] or 0)
        for number in range(-(-self._state["rows"] // self._shard_rows)):
            rows = min(self._shard_rows, self._state["rows"] - number * self._shard_rows)
            sizes[shard_file(self.folder, number)] = rows * width
        for file in self.folder.glob("features-*.bin"):
            sizes.setdefault(file, 0)
        for file, size in sizes.items():
            found = file.stat().st_size if file.exists() else 0
            if found < size:
                raise MagicError(
                    f"{file}: is damaged ({found} bytes where {size} were written); delete {self.folder} and start again"
                )
            if size:
                os.truncate(file, size)
            else:
                file.unlink(missing_ok=True)

    def add(
        self, features: np.ndarray, items: Sequence[dict[str, Any]], failures: Sequence[dict[str, Any]], *, inputs: int
    ) -> None:
        """Append a batch; after this returns, no crash can lose it.

        Args:
            features: (N, E) of any length above zero; all numbers must be finite.
            items: The item of each row.
            failures: Inputs of the batch that have no feature.
            inputs: How many inputs the batch used.
        """
        state = self._state
        if len(features):
            state = state | {"dim": features.shape[1]}
            self._append_rows(to_unit_length(features).astype(self._dtype))
        append_lines(self.folder / ITEMS, items)
        append_lines(self.folder / FAILURES, failures)
        self._state = {
            "inputs": state["inputs"] + inputs,
            "rows": state["rows"] + len(features),
            "dim": state["dim"],
            "failures": state["failures"] + len(failures),
            "sizes": {name: _size(self.folder / name) for name in (ITEMS, FAILURES)},
        }
        append_lines(self.folder / PROGRESS, [self._state])

    def _append_rows(self, rows: np.ndarray) -> None:
        start, position = self._state["rows"], 0
        while position < len(rows):
            number, filled = divmod(start + position, self._shard_rows)
            part = rows[position : position + self._shard_rows - filled]
            append_bytes(shard_file(self.folder, number), part.tobytes())
            position += len(part)

    def finish(self) -> None:
        """Mark the folder as complete, with the digests of its files."""
        for name in (ITEMS, FAILURES):
            (self.folder / name).touch()
        files = [*sorted(self.folder.glob("features-*.bin")), self.folder / ITEMS, self.folder / FAILURES]
        counts = {name: self._state[name] for name in ("inputs", "rows", "failures", "dim")}
        digests = {file.name: sha256(file) for file in files}
        document = {"status": "complete", "identity": self._identity, **counts, "files": digests}
        write_atomically(self.folder / MANIFEST, _document(document))
        (self.folder / PROGRESS).unlink(missing_ok=True)
        self.is_complete = True


def read_manifest(folder: Path, setting: str) -> dict[str, Any] | None:
    """The manifest of a folder of features; None if it has none. If it says complete, it has every key that ``finish`` writes.

    Raises:
        MagicError: It is damaged, or the folder holds other things.
    """
    try:
        manifest = parse_json((folder / MANIFEST).read_bytes())
    except FileNotFoundError:
        others = [path.name for path in folder.glob("*") if not path.name.startswith(".")] if folder.is_dir() else []
        if others:
            _refuse(folder, setting, f"is not empty and has no {MANIFEST} (but {min(others)})", _ANOTHER)
        return None
    except ValueError as error:
        _refuse(folder, setting, f"its {MANIFEST} is damaged ({error})")
    if not isinstance(manifest, dict):
        _refuse(folder, setting, f"its {MANIFEST} is damaged (it holds no object)")
    if not {"status", "identity"} <= manifest.keys() or "sessions" in manifest:  # a run of another command has sessions
        _refuse(folder, setting, "holds no features, but something else", _ANOTHER)
    if wrong := _wrong_entry(manifest):
        _refuse(folder, setting, f"its {MANIFEST} is damaged ({wrong} is {str(manifest.get(wrong))[:60]!r})")
    return manifest


def _wrong_entry(manifest: Mapping[str, Any]) -> str | None:
    """The first key of a manifest whose value ``FeatureWriter`` cannot have written."""
    identity, status = manifest["identity"], manifest["status"]
    if status not in ("building", "complete"):
        return "status"
    if (
        not isinstance(identity, dict)
        or not _is_count(identity.get("shard_rows"), 1)
        or str(identity.get("features")) not in DTYPES
    ):
        return "identity"
    if status == "building":
        return None
    for name in ("inputs", "rows", "failures"):
        if not _is_count(manifest.get(name), 0):
            return name
    if manifest.get("dim") is not None and not _is_count(manifest["dim"], 1) or manifest.get("dim") is None and manifest["rows"]:
        return "dim"
    files, shards = manifest.get("files"), -(-manifest["rows"] // identity["shard_rows"])
    if not isinstance(files, dict) or len(files) != shards + 2 or not all(isinstance(digest, str) for digest in files.values()):
        return "files"
    named = {ITEMS, FAILURES} | {shard_file(Path(), number).name for number in range(shards)}
    return None if named == files.keys() else "files"


def _is_state(state: Any) -> bool:
    """Whether a line of progress.jsonl has the form that ``add`` writes."""
    if not isinstance(state, dict) or state.keys() != _START.keys() or not isinstance(state["sizes"], dict):
        return False
    counts = [state["inputs"], state["rows"], state["failures"], *state["sizes"].values()]
    has_dim = _is_count(state["dim"], 1) or state["dim"] is None and state["rows"] == 0
    return has_dim and state["sizes"].keys() == _START["sizes"].keys() and all(_is_count(count, 0) for count in counts)


def _is_count(value: Any, least: int) -> bool:
    return type(value) is int and value >= least


def _refuse(folder: Path, setting: str, problem: str, remedy: str = f"{_ANOTHER}, or delete this one") -> NoReturn:
    raise MagicError(f"{setting}={folder}: {problem}; {remedy}")


def to_unit_length(features: np.ndarray) -> np.ndarray:
    """(N, E) float32 scaled to length 1, so that a dot product is a cosine."""
    features = np.asarray(features, dtype=np.float32)
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _document(value: Any) -> str:
    return json.dumps(value, indent=2) + "\n"
