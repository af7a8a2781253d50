"""magic report: one page that shows what systems wrote."""

from __future__ import annotations

import sys
import time

from magic_cli.data.images import quiet_pillow
from magic_cli.report_page.settings import ReportSettings
from magic_cli.report_page.writing import write_report
from magic_cli.terminal.streams import print_line
from magic_cli.terminal.wording import counted


def run(settings: ReportSettings) -> int:
    """Write the page; its name goes to stdout. Returns 0."""
    quiet_pillow()
    started = time.monotonic()
    report = write_report(settings)
    for note in report.notes:
        print(f"magic: {note}", file=sys.stderr)
    failed = f", {counted(report.failures, 'failure')}" if report.failures else ""
    size = report.file.stat().st_size / 1e6
    print(
        f"magic: {counted(report.items, 'item')} by {counted(report.systems, 'system')}{failed}: {size:.1f} MB in "
        f"{time.monotonic() - started:.1f} s; open it in a browser",
        file=sys.stderr,
    )
    print_line(str(report.file))
    return 0
