"""Counts which part of a system's output is scored and which is not."""

from __future__ import annotations

from dataclasses import dataclass, field

from magic_cli.data.system import System
from magic_cli.terminal.wording import counted


@dataclass(frozen=True)
class Coverage:
    """Counts which part of a system's output is scored and which is not."""

    n: int
    """Scored captions; empty ones are included and score 0."""
    missing: int
    """Images without a caption, among those with references or in the run."""
    dropped: int = 0
    """Captions without references, left out because ``unmatched=drop``."""
    notes: tuple[str, ...] = field(default=())


def wanted(system: System) -> int:
    """The number of images that a run must caption, without those left out on purpose; 0 if unknown."""
    if system.rank is not None:
        return system.planned or 0
    counts = (system.manifest or {}).get("counts", {})
    return system.planned - counts.get("skipped", 0) if system.planned is not None else 0


def run_notes(system: System) -> tuple[str, ...]:
    """What the user should know about a run before reading its scores."""
    notes = []
    status = "complete" if system.manifest is None else system.manifest.get("status", "of unknown status")
    if status != "complete":
        notes.append(f"the run is {status}, not complete")
    if system.failed:
        item, text = (
            ("title", "story") if system.writes_stories else ("item", "answer") if system.writes_answers else ("image", "caption")
        )
        notes.append(counted(system.failed, f"{item} of the run has no {text}", f"{item}s of the run have no {text}"))
    return tuple(notes)
