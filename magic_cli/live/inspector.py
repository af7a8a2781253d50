"""The steps of the captions as a separate page: the one that ``magic report`` makes of the runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from magic_cli.configuration.overrides import override
from magic_cli.report_page.settings import ReportSettings
from magic_cli.report_page.writing import write_report


def inspect(runs: Sequence[Path], page: Path, *, title: str) -> None:
    """Write the page.

    Args:
        runs: Run folders of the same photo.
        page: The file of the page.
        title: The heading.

    Raises:
        MagicError: It cannot be written.
    """
    from magic_cli.configuration.points import settings_from  # imports Hydra

    values = {
        "systems": [str(run) for run in runs], "output": str(page), "title": title, "pictures": "embedded", "bootstrap.samples": 0,
    }  # fmt: skip
    write_report(settings_from("report", ReportSettings, [override(name, value) for name, value in values.items()]))
