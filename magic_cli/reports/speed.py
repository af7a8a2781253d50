"""Relative decoding speed from the manifests of runs (table 1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from magic_cli.terminal.wording import counted

SPEED = "speed"
"""Key of the measure in paper.yaml."""


def seconds_per_caption(runs: Sequence[Mapping[str, Any]]) -> float | None:
    """Wall seconds per caption over runs of one method, sessions that were interrupted included.

    Args:
        runs: Documents of metrics.json.

    Returns:
        Seconds, greater than 0; None where a document is not of a run folder, or its manifest does not tell.
    """
    seconds, captions = 0.0, 0
    for document in runs:
        run = document.get("run") or {}
        sessions = run.get("sessions", [])
        if not sessions or not all("seconds" in session for session in sessions):
            return None  # no run, or a session that was killed outright: its time is lost
        seconds += sum(session["seconds"] for session in sessions)
        captions += run.get("counts", {}).get("predictions", 0)
    return seconds / captions if captions and seconds > 0 else None


def relative_speed(runs: Sequence[Mapping[str, Any]], baseline: Sequence[Mapping[str, Any]]) -> float | None:
    """How many times faster than the baseline's runs these are, greater than 0.

    None where either is unknown, or where not all of them ran on the same kind of device with as many threads.
    """
    here, there = seconds_per_caption(runs), seconds_per_caption(baseline)
    if here is None or there is None or len(devices([*runs, *baseline])) != 1:
        return None
    return there / here


def devices(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """The devices that runs decoded on, each once, such as ``cpu, 2 threads``."""
    sessions = (session for document in runs for session in (document.get("run") or {}).get("sessions", []))
    used = [session for session in sessions if "device" in session]  # a session that found all done used none
    return list(dict.fromkeys(f"cpu, {counted(s['threads'], 'thread')}" if s["device"] == "cpu" else s["device"] for s in used))
