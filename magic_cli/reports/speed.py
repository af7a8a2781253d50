"""Relative decoding speed, from the manifests of runs (table 1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from magic_cli.terminal.wording import counted

SPEED = "speed"
"""The key of this measure in paper.yaml."""


def seconds_per_caption(runs: Sequence[Mapping[str, Any]]) -> float | None:
    """Wall seconds per caption over the runs of a method, including interrupted sessions.

    Args:
        runs: Documents of metrics.json.

    Returns:
        Seconds, greater than 0; None if a document does not belong to a run folder, or the manifest does not contain them.
    """
    seconds, captions = 0.0, 0
    for document in runs:
        run = document.get("run") or {}
        sessions = run.get("sessions", [])
        if not sessions or not all("seconds" in session for session in sessions):
            return None  # not a run, or a session was killed and its time is lost
        seconds += sum(session["seconds"] for session in sessions)
        captions += run.get("counts", {}).get("predictions", 0)
    return seconds / captions if captions and seconds > 0 else None


def relative_speed(runs: Sequence[Mapping[str, Any]], baseline: Sequence[Mapping[str, Any]]) -> float | None:
    """How many times faster these runs are than those of the baseline; greater than 0.

    None if either time is unknown, or not all runs used the same kind of device with the same number of threads.
    """
    here, there = seconds_per_caption(runs), seconds_per_caption(baseline)
    if here is None or there is None or len(devices([*runs, *baseline])) != 1:
        return None
    return there / here


def devices(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """The devices that the runs decoded on, without repeats, such as ``cpu, 2 threads``."""
    sessions = (session for document in runs for session in (document.get("run") or {}).get("sessions", []))
    used = [session for session in sessions if "device" in session]  # a session with nothing left to do used no device
    return list(dict.fromkeys(f"cpu, {counted(s['threads'], 'thread')}" if s["device"] == "cpu" else s["device"] for s in used))
