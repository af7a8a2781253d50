"""The folder of a training run; at the end it is the folder of the model.

settings.yaml, manifest.json   the settings, and facts of the run: versions, base model, sessions with their seconds
metrics.jsonl                  loss and validation, step by step; without times, so that a resumed run writes the same bytes
checkpoints/                   the newest checkpoints, and the best model so far
config.json, model.safetensors, tokenizer...   the model, written at the end
report.json, curve.png, .svg   the results
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any

from magic_cli.data.json_files import read_json_lines
from magic_cli.errors import MagicError
from magic_cli.files import append_lines, locked, write_atomically
from magic_cli.models.sources import only_read
from magic_cli.provenance import differences, provenance, read_manifest

METRICS, REPORT, CURVE = "metrics.jsonl", "report.json", "curve"


class TrainingFolder:
    """The folder of one training run, locked for this process; use it as a context manager.

    Args:
        path: The folder; created if it does not exist.
        settings: All settings as plain values.
        identity: The settings that can change the weights. A folder is only continued with the same identity.

    Raises:
        MagicError: Another process uses the folder, or it belongs to other settings.
    """

    def __init__(self, path: Path, *, settings: dict[str, Any], identity: dict[str, Any]) -> None:
        self.path = path
        self.manifest: dict[str, Any] = {}
        self._settings, self.identity = settings, identity
        self._started = time.time()

    def __enter__(self) -> TrainingFolder:
        with contextlib.ExitStack() as stack:
            stack.enter_context(locked(self.path))
            if (self.path / "manifest.json").exists():
                self.manifest = read_manifest(self.path, self.identity)
            elif any(not file.name.startswith(".") for file in self.path.iterdir()):
                raise MagicError(f"run.dir={self.path}: holds other files, and no manifest.json of a run; set another run.dir")
            if not self.is_complete:
                self._begin()
            self._stack = stack.pop_all()
        return self

    def _begin(self) -> None:
        import yaml

        self.manifest |= {**provenance(), "identity": self.identity, "status": "running"}
        self.manifest.setdefault("sessions", []).append({"started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())})
        self._write_manifest()  # first: a folder with other files and no manifest would be taken for somebody else's
        write_atomically(self.path / "settings.yaml", yaml.safe_dump(self._settings, sort_keys=False, allow_unicode=True))

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        if kind is not None and not self.is_complete:
            self.manifest["status"] = "interrupted"
            self._write_manifest()
        self._stack.close()

    def look(self) -> None:
        """Read the manifest in a process that has not locked the folder."""
        self.manifest = read_manifest(self.path, self.identity)

    @property
    def is_complete(self) -> bool:
        """Whether the run is finished."""
        return self.manifest.get("status") == "complete"

    def use_source(self, source: dict[str, Any]) -> None:
        """Record what the training starts from: files of the base model, a digest of the texts.

        Raises:
            MagicError: The run was begun with others.
        """
        before = self.manifest.setdefault("source", source)
        if changed := "; ".join(differences(only_read(before), source)):
            raise MagicError(
                f"run.dir={self.path}: was begun with another model or other texts ({changed}); set another run.dir, or delete this folder"
            )
        self._write_manifest()

    def add_metrics(self, line: dict[str, Any]) -> None:
        """Append one line to metrics.jsonl."""
        append_lines(self.path / METRICS, [line])

    @property
    def metrics_bytes(self) -> int:
        """Length of metrics.jsonl."""
        file = self.path / METRICS
        return file.stat().st_size if file.exists() else 0

    def cut_metrics(self, num_bytes: int) -> None:
        """Remove the lines written after the checkpoint from which the run continues."""
        if self.metrics_bytes < num_bytes:
            raise MagicError(f"{self.path / METRICS}: is shorter than at the last checkpoint; delete the folder and start again")
        if self.metrics_bytes:
            os.truncate(self.path / METRICS, num_bytes)

    def read_metrics(self) -> list[dict[str, Any]]:
        """All lines of metrics.jsonl."""
        return read_json_lines(self.path / METRICS, remedy="delete the folder and start again")

    def finish(self, report: dict[str, Any], seconds: float) -> None:
        """Write the report and mark the run as complete. ``seconds`` of training, without lost steps, go into the manifest."""
        self.manifest["training_seconds"] = round(seconds, 1)
        self.manifest["tokens_per_second"] = round(report["tokens"] / seconds, 1)
        write_atomically(self.path / REPORT, json.dumps(report, ensure_ascii=False, indent=1) + "\n")
        self.manifest["status"] = "complete"
        self._write_manifest()

    def _write_manifest(self) -> None:
        self.manifest["sessions"][-1]["seconds"] = round(time.time() - self._started, 3)
        write_atomically(self.path / "manifest.json", json.dumps(self.manifest, indent=2, default=str) + "\n")
