"""magic merge-runs: one run folder of the parts of a data set; its name goes to stdout."""

from __future__ import annotations

import sys

from magic_cli.runs.merge_settings import MergeSettings
from magic_cli.runs.merging import merge
from magic_cli.runs.parts import read_parts
from magic_cli.terminal.streams import print_line
from magic_cli.terminal.wording import counted


def run(settings: MergeSettings) -> int:
    """Check all parts, then put them together. Returns 0."""
    output, _ = settings.claim()
    parts = read_parts(settings.runs)
    merged = merge(parts, output)
    for note in merged.notes:
        print(f"magic: {note}", file=sys.stderr)
    counts = merged.counts
    failed = counts["failures"] + counts.get("skipped", 0)
    without = f", {counted(failed, 'item')} without" if failed else ""
    print(f"magic: {counted(len(parts), 'part')}, {counted(counts['predictions'], 'text')}{without}", file=sys.stderr)
    print_line(output)
    return 0
