"""The run folder of a command that writes texts. No crash loses or repeats an item.

settings.yaml       all settings that produced the texts here, with defaults filled in
manifest.json       versions, models, device, counts, seconds
predictions.jsonl   one finished item per line, appended and synced batch by batch
failures.jsonl      items that cannot be written, with the reason
dropped.jsonl       predictions of items that are no longer asked for
trace.jsonl         with run.trace=true, the candidates and scores of every step
coco_results.json, released_format.json, predictions.parquet, index.html   exports, written at the end
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Collection, Container, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from magic_cli.data.run_files import COMPARISON, FAILURES, METRICS, PER_ITEM, PREDICTIONS, REPORT, SETTINGS, TRACE
from magic_cli.errors import MagicError
from magic_cli.files import (
    append_lines,
    as_bytes,
    json_lines,
    locked,
    recovered_items,
    replacing,
    write_atomically,
    write_document,
)
from magic_cli.models.sources import each_only_read, only_read
from magic_cli.provenance import differences, provenance, read_manifest
from magic_cli.runs.arranging import are_arranged, arranged_failures, arranged_ids, arranged_steps
from magic_cli.runs.claims import Claims, note_traces
from magic_cli.runs.predictions import Predictions, follows
from magic_cli.runs.shards import refuse_other_part

PAGE = "index.html"
DROPPED = "dropped.jsonl"
PARQUET = "predictions.parquet"
EXPORTS = ("coco_results.json", "released_format.json", PARQUET, PAGE, REPORT)

_AT_ONCE = 10_000
"""Records that are moved in one piece."""
_WITHOUT_TRACE = f"delete {TRACE}, the texts stay, or set another run.dir"


class RunFolder:
    """The folder of one run, locked for this process; use it as a context manager.

    Args:
        path: The folder; created if it does not exist.
        settings: All settings as plain values, for settings.yaml.
        identity: The settings that can change a result. A folder is only continued with the same identity.
        planned: The number of items in the run.

    Attributes:
        traces: For each item with a trace, whether the trace is complete.
        withdrawn: Result files of an evaluation that were deleted because the texts have changed since.

    Raises:
        MagicError: Another process uses the folder, it belongs to other settings, or one of its files is damaged.
    """

    def __init__(self, path: Path, *, settings: dict[str, Any], identity: dict[str, Any], planned: int) -> None:
        self.path = path
        self.manifest: dict[str, Any] = {}
        self.predictions = Predictions(path / PREDICTIONS)
        self.failures: list[dict[str, Any]] = []
        self.traces: dict[str, bool] = {}
        self.withdrawn: list[str] = []
        self._identity, self._planned = identity, planned
        self._shard = settings.get("run", {}).get("shard")
        self._claims = Claims(path / SETTINGS, settings)
        self._has_changed = self._was_complete = False
        self._started = time.time()

    def __enter__(self) -> RunFolder:
        with contextlib.ExitStack() as stack:
            stack.enter_context(locked(self.path))
            self._read_manifest()
            stack.callback(self.predictions.close)
            self.predictions.read()
            if self.predictions or "shard" in self.manifest:  # a start that was killed early has not said which part it writes
                refuse_other_part(self.path, self.manifest.get("shard"), self._shard)
            self._read_traces()
            before = self._claims.read() if self.predictions else None
            write_atomically(self.path / FAILURES, "")  # each start tries failed items again
            self._begin_manifest()
            self._begin_claims(before)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        if kind is not None:
            self.manifest["status"] = "interrupted"
        try:
            self.write_manifest()
        finally:
            self._stack.close()

    def _read_manifest(self) -> None:
        file = self.path / "manifest.json"
        if not file.exists():
            if (self.path / PREDICTIONS).exists():
                raise MagicError(
                    f"run.dir={self.path}: holds predictions but no manifest.json, so it is unknown which settings made them; set another run.dir"
                )
            return
        self.manifest = read_manifest(self.path, self._identity)
        self._was_complete = self.manifest.get("status") == "complete"

    def _begin_manifest(self) -> None:
        self.manifest |= {
            **provenance(),
            "identity": self._identity,
            "status": "running",
        }
        self.manifest.setdefault("sessions", []).append({"started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())})
        self.write_manifest()

    def _begin_claims(self, before: dict[str, Any] | None) -> None:
        self._claims.begin(before)
        self._claims.claim(self.predictions, self.traces)
        if otherwise := self._claims.otherwise():
            self.record(otherwise=otherwise)

    def _read_traces(self) -> None:
        file = self.path / TRACE
        self.traces = {}
        has_others = False
        for _, _, step in recovered_items(file, _WITHOUT_TRACE):
            if step["id"] in self.predictions:
                note_traces(self.traces, [step])
            else:
                has_others = True
        if has_others:
            with replacing(file) as stream:
                for _, _, step in recovered_items(file, _WITHOUT_TRACE):
                    if step["id"] in self.predictions:
                        stream.write(as_bytes(json_lines([step])))

    def use_models(self, models: dict[str, Any]) -> None:
        """Record the revisions and file hashes of the models.

        Raises:
            MagicError: The folder was begun with models of the same name but other content.
        """
        before = self.manifest.get("models")
        if before is not None:
            self._refuse(differences(each_only_read(before), models))
        self.manifest["models"] = models
        self.write_manifest()

    def check_model_files(self, files: dict[str, dict[str, str]]) -> None:
        """Compare the files of local models, ``{model: {file: SHA-256}}``, with those that wrote the predictions here.

        Raises:
            MagicError: They differ.
        """
        for model, digests in files.items():
            self._refuse(differences(only_read(self.manifest["models"][model]).get("files"), digests, model))

    def _refuse(self, changes: Iterator[str]) -> None:
        changed = "; ".join(changes)
        if changed and not self.predictions:
            (self.path / DROPPED).unlink(missing_ok=True)  # written by the other models
        elif changed:
            raise MagicError(
                f"run.dir={self.path}: was begun with other model files ({changed}); set another run.dir, or delete this folder"
            )

    def forget(self, ids: Collection[str]) -> None:
        """Delete predictions because their items have changed."""
        self._change()
        self.predictions.keep(self.predictions.without(set(ids)))
        self._read_traces()
        if not self.predictions:
            self._claims.begin(None)

    def drop(self, ids: Collection[str]) -> None:
        """Move predictions to dropped.jsonl, because nobody asks for their items any more; their traces go."""
        before = self.dropped()  # by a start that was killed before it could forget them, too
        moved = [item for item in ids if before.get(item) != self.predictions[item]]
        for start in range(0, len(moved), _AT_ONCE):
            append_lines(self.path / DROPPED, [self.predictions[item] for item in moved[start : start + _AT_ONCE]])
        self.forget(ids)

    def dropped(self) -> dict[str, dict[str, Any]]:
        """The dropped predictions by id; if an id was dropped several times, the last one."""
        return {
            record["id"]: record
            for _, _, record in recovered_items(self.path / DROPPED, f"delete {DROPPED}, or set another run.dir")
        }

    def take_back(self, records: Sequence[dict[str, Any]]) -> None:
        """Make dropped records predictions again."""
        self.add_predictions(records)
        self.forget_dropped({record["id"] for record in records})

    def forget_dropped(self, ids: Container[str]) -> None:
        """Leave these out of dropped.jsonl, since they are predictions again."""
        dropped = self.dropped()
        kept = [record for item, record in dropped.items() if item not in ids]
        if len(kept) < len(dropped):
            write_atomically(self.path / DROPPED, json_lines(kept))

    def replace(self, records: Sequence[dict[str, Any]]) -> None:
        """Replace the predictions that have the ids of these records."""
        self._change()
        self.predictions.replace({record["id"]: record for record in records})

    def arrange(self, batches: Iterable[Iterable[str]]) -> None:
        """Bring what was written into the order of the batches, given by their items' ids, whoever was first to be done.

        Args:
            batches: Can be gone through several times. As a rule all is in order, and nothing but one pass is needed.
        """
        if (self._has_changed or not self._was_complete) and not follows(self.predictions, chain.from_iterable(batches)):
            in_order = arranged_ids(self.predictions, batches)
            if in_order != list(self.predictions):
                self.predictions.keep(in_order)
        failures = arranged_failures(self.failures, batches)
        if failures != self.failures:
            self.failures = failures
            write_atomically(self.path / FAILURES, json_lines(failures))
        if not are_arranged(self.traces, batches):
            steps = (step for _, _, step in recovered_items(self.path / TRACE, _WITHOUT_TRACE))
            write_atomically(self.path / TRACE, json_lines(arranged_steps(steps, batches)))

    def record(self, **facts: Any) -> None:
        """Write facts of this session (device, counts, seconds) into the manifest."""
        self.manifest["sessions"][-1] |= facts

    def add_predictions(self, records: Sequence[dict[str, Any]]) -> None:
        """Append finished items. After this returns, no crash can lose them."""
        if not records:
            return
        self._change()
        if not self.predictions or self._claims.has_trace:
            self._claims.claim(
                [record["id"] for record in records], self.traces
            )  # before they are written: never too much is claimed
        self.predictions.append(records)

    def _change(self) -> None:
        """Delete everything that was made from the predictions, because they are about to change."""
        if self._has_changed:
            return
        self._has_changed = True
        for name in EXPORTS:
            (self.path / name).unlink(missing_ok=True)
        for folder in (self.path, *sorted(self.path.glob("image_*"))):  # stories for further images have their own scores
            for name in (METRICS, PER_ITEM, COMPARISON):
                if (file := folder / name).is_file():
                    file.unlink()
                    self.withdrawn.append(file.relative_to(self.path).as_posix())

    def add_failures(self, records: Sequence[dict[str, Any]]) -> None:
        """Append items that cannot be written, with the ``reason``."""
        append_lines(self.path / FAILURES, records)
        self.failures += records

    def add_trace(self, steps: Sequence[dict[str, Any]]) -> None:
        """Append the steps of items; their predictions follow."""
        append_lines(self.path / TRACE, steps)
        note_traces(self.traces, steps)

    def finish(self, exports: dict[str, Any]) -> None:
        """Mark the run as complete and write its exports, ``{file name: JSON document, or text}``."""
        self._claims.claim(self.predictions, self.traces)
        for name, document in exports.items():
            write_document(self.path / name, document)
        self.forget_dropped(self.predictions)
        self.manifest["status"] = "complete"

    def write_manifest(self) -> None:
        """Write the current manifest to manifest.json."""
        failed = [record for record in self.failures if not record.get("skipped")]
        self.manifest["counts"] = {
            "planned": self._planned,
            "predictions": len(self.predictions),
            "failures": len(failed),
            "skipped": len(self.failures) - len(failed),
        }
        self.manifest["sessions"][-1]["seconds"] = round(time.time() - self._started, 3)
        write_atomically(self.path / "manifest.json", json.dumps(self.manifest, indent=2, default=str) + "\n")
