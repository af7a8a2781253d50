"""settings.yaml of a run folder: the settings that produced its texts."""

from __future__ import annotations

import copy
import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from magic_cli.data.run_files import read_settings
from magic_cli.files import write_atomically
from magic_cli.provenance import differences


class Claims:
    """The settings in settings.yaml. They do not change while texts of an earlier start are kept.

    Args:
        file: The path of settings.yaml.
        settings: The settings of this start, as plain values.
    """

    def __init__(self, file: Path, settings: dict[str, Any]) -> None:
        self._file, self._settings = file, settings
        self._claimed: dict[str, Any] = {}

    def read(self) -> dict[str, Any] | None:
        """The settings that an earlier start wrote; None if the file does not exist.

        Raises:
            MagicError: The file is damaged.
        """
        remedy = "delete it (it is written again), or set another run.dir"
        return read_settings(self._file, remedy=remedy) if self._file.exists() else None

    def begin(self, before: dict[str, Any] | None) -> None:
        """Keep the settings of an earlier start (from ``read``); with None, write the settings of this start."""
        self._claimed = copy.deepcopy(self._settings) if before is None else before
        self._write()

    def otherwise(self) -> list[str]:
        """The settings of this start that differ from those in the file, for the manifest."""
        return list(differences(self._claimed, json.loads(json.dumps(self._settings, default=str))))

    @property
    def has_trace(self) -> bool:
        """Whether settings.yaml says that the texts have traces."""
        return bool(self._claimed.get("run", {}).get("trace"))

    def claim(self, ids: Collection[str], traces: Mapping[str, bool]) -> None:
        """Record ``trace`` only if all of these items have one, and ``lazy=false`` only if no trace leaves numbers out.

        Args:
            ids: Ids of the items.
            traces: For each item with a trace, whether the trace is complete.
        """
        run = self._claimed.get("run")
        if not run or not ids:
            return
        now = true_of_traces(ids, traces)
        if any(run.get(name) != value for name, value in now.items()):
            run |= now
            self._write()

    def _write(self) -> None:
        import yaml

        write_atomically(self._file, yaml.safe_dump(self._claimed, sort_keys=False, allow_unicode=True))


def note_traces(traces: dict[str, bool], steps: Iterable[Mapping[str, Any]]) -> None:
    """Add lines of trace.jsonl to ``traces``: for each item with a trace, whether it leaves no numbers out."""
    for step in steps:
        is_whole = not any(isinstance(values, list) and None in values for values in step.values())
        traces[step["id"]] = traces.get(step["id"], True) and is_whole


def true_of_traces(ids: Collection[str], traces: Mapping[str, bool]) -> dict[str, bool]:
    """What settings.yaml may say of traces, given those that ``note_traces`` found.

    >>> true_of_traces(["a", "b"], {"a": True}), true_of_traces(["a", "b"], {"a": True, "b": False})
    ({'trace': False}, {'trace': True, 'lazy': True})
    """
    true = {"trace": all(item in traces for item in ids)}
    if true["trace"] and not all(traces[item] for item in ids):
        true["lazy"] = True
    return true
