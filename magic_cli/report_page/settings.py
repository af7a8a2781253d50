"""Settings of ``magic report``."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import Enum

from magic_cli.errors import MOST_ITEMS, SettingsError, require
from magic_cli.evaluation.settings import ScoringSettings


class Pictures(Enum):
    """Where a page keeps its thumbnails."""

    auto = "auto"
    embedded = "embedded"
    links = "links"
    none = "none"


MOST_SHOWN = 100_000
"""Items of a page at most: a page of so many captions has 40 MB, and a browser needs seconds to open it."""
EMBEDDED_AT_MOST = 1500
"""The most thumbnails that ``auto`` puts into the page itself: about 15 MB at 224 pixels."""


@dataclass
class ReportSettings(ScoringSettings):
    """Everything ``magic report`` needs.

    Attributes:
        systems: Run folders, prediction files, folders of retrieved images, patterns.
        title: Heading of the page; null: the names of the systems.
        pictures: Thumbnails inside the page (``embedded``), as files in a folder beside it (``links``), ``none``, or ``auto``:
            inside if they are few enough.
        picture_side: Pixels of a thumbnail's long side, 32 to 2000.
        sample: Only so many items, from the first to the last at equal distances, 1 to 100,000; null: all.
        traced_items: The page shows the steps of at most so many items per system, 0 to 1,000,000,000.
        output: The page's file; null: report.html in the one run folder, else below runs/report.
    """

    systems: list[str] = field(default_factory=list)
    title: str | None = None
    pictures: Pictures = Pictures.auto
    picture_side: int = 224
    sample: int | None = None
    traced_items: int = 300

    def __post_init__(self) -> None:
        super().__post_init__()
        require("picture_side", self.picture_side, at_least=32, limit=2000)
        if self.sample is not None:
            require("sample", self.sample, at_least=1, limit=MOST_SHOWN)
        require("traced_items", self.traced_items, at_least=0, limit=MOST_ITEMS)
        if self.output and not self.output.endswith(".html"):
            raise SettingsError(f"output={self.output}: must be the name of a page that ends in .html")

    def claim(self) -> tuple[str, str] | None:
        """The page to write, and all settings."""
        return (self.output, repr(asdict(self))) if self.output else None
