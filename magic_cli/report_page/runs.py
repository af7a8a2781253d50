"""What a page shows of a run apart from its texts: settings, manifest, failures, seconds and work done."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from magic_cli.data.json_files import read_growing_lines
from magic_cli.data.run_files import FAILURES, SETTINGS, read_settings
from magic_cli.data.system import System
from magic_cli.terminal.wording import counted

_REMEDY = "delete it, or run its command again"
_TOLD_APART = ("identity", "sessions", "counts")
"""Keys of the manifest that are left out: they repeat the settings, or are summed up elsewhere."""


def run_facts(system: System) -> dict[str, Any]:
    """The facts of a run folder; for a plain file all are empty.

    Raises:
        MagicError: A file of the run is damaged.
    """
    folder = system.source if system.source.is_dir() else None
    settings = read_settings(folder / SETTINGS, remedy=_REMEDY) if folder and (folder / SETTINGS).is_file() else {}
    manifest = system.manifest or {}
    return {
        "settings": dict(_flat(settings)),
        "manifest": dict(_flat({key: value for key, value in manifest.items() if key not in _TOLD_APART})),
        "failures": _failures(folder) if folder else [],
        **_work(manifest),
    }


def _flat(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """The full name of every value, and the value as the user would type it."""
    for key, value in tree.items():
        name = f"{path}{key}"
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{name}.")
        else:
            yield name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _failures(folder: Path) -> list[dict[str, Any]]:
    """Items that could not be written, with the reason."""
    file = folder / FAILURES
    records = read_growing_lines(file, setting="systems", hint=_REMEDY)[0] if file.is_file() else []
    return [
        {key: str(record[key]) for key in ("id", "title", "image", "reason") if record.get(key) is not None}
        | {"skipped": bool(record.get("skipped"))}
        for record in records
    ]


def _work(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Seconds, work and counts, summed over all starts."""
    sessions = manifest.get("sessions", [])
    work: dict[str, float] = defaultdict(int)
    phases: dict[str, float] = defaultdict(int)
    for session in sessions:
        for total, name in ((work, "work"), (phases, "phase_seconds")):
            found = session.get(name)
            for key, value in found.items() if isinstance(found, dict) else ():
                if isinstance(value, int | float):
                    total[str(key)] += value
    machines = dict.fromkeys(
        f"{one['device']}, {counted(one['threads'], 'thread')}" for one in sessions if "device" in one and "threads" in one
    )
    return {
        "starts": len(sessions),
        "seconds": round(sum(session.get("seconds", 0) for session in sessions), 3) if sessions else None,
        "machines": list(machines),
        "counts": dict(manifest.get("counts", {})),
        "work": dict(work),
        "phases": {name: round(seconds, 3) for name, seconds in phases.items()},
    }
