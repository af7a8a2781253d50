"""Settings of ``magic retrieve-images``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from magic_cli.data.paths import expanded
from magic_cli.errors import MOST_ITEMS, SettingsError, require
from magic_cli.models.settings import ReadingMachineSettings
from magic_cli.retrieval.settings import IndexSettings, check_choice

WHOLE, RELEASED = "whole", "released"
EMBEDDED, LINKS, NONE = "embedded", "links", "none"


class RetrieveImagesAction(Enum):
    """What the command does."""

    build = "build"
    query = "query"


@dataclass
class RetrieveImagesSettings:
    """Everything ``magic retrieve-images`` needs.

    Attributes:
        image_text_model: The model that encodes images and texts.
        action: ``build`` the index, or ``query`` it.
        files: build: the images, as folders, lists of image files or webdataset shards; query: files with the queries.
        index: Folder of the index.
        queries: Queries on the command line.
        titles: ``whole``, or ``released``: cut as the released code cuts titles.
        top_k: Images per query, 1 to 1,000,000.
        limit: build: only the first so many images, at least 1; null: all.
        apply_exif_orientation: Turn photos upright that carry an EXIF orientation.
        output: Folder of a query's results; null: below ``runs/retrieve-images``.
        contact_sheet: Page of the results: ``embedded`` (thumbnails inside it), ``links`` (to the image files) or ``none``.
        contact_sheet_queries: The page shows only the first so many queries, at least 1.
        search: Kind of index.
        run: What models run on.
    """

    image_text_model: Any
    action: RetrieveImagesAction
    files: list[str] = field(default_factory=list)
    index: str | None = None
    queries: list[str] = field(default_factory=list)
    titles: str = WHOLE
    top_k: int = 3
    limit: int | None = None
    apply_exif_orientation: bool = True
    output: str | None = None
    contact_sheet: str = EMBEDDED
    contact_sheet_queries: int = 200
    search: IndexSettings = field(default_factory=IndexSettings)
    run: ReadingMachineSettings = field(default_factory=lambda: ReadingMachineSettings(batch_size=32))

    def __post_init__(self) -> None:
        check_choice("titles", self.titles, (WHOLE, RELEASED))
        check_choice("contact_sheet", self.contact_sheet, (EMBEDDED, LINKS, NONE))
        require("top_k", self.top_k, at_least=1, limit=1_000_000)
        require("contact_sheet_queries", self.contact_sheet_queries, at_least=1, limit=MOST_ITEMS)
        if self.limit is not None:
            require("limit", self.limit, at_least=1, limit=MOST_ITEMS)
        if self.action is RetrieveImagesAction.query and not self.run.is_one_process:
            raise SettingsError(
                "run.devices and run.engine=ray belong to `magic retrieve-images build`; leave them out of a query"
            )
        if not self.index:
            raise SettingsError(
                f"index is not set: name the folder of the index, as in `magic retrieve-images {self.action.value} ... --index FOLDER`"
            )
        if self.action is RetrieveImagesAction.build and not self.files:
            raise SettingsError(
                "nothing to build from: name a folder of images, a list of image files, or webdataset shards (*.tar)"
            )
        if self.action is RetrieveImagesAction.query and not self.files and not self.queries:
            raise SettingsError('nothing to look for: name a file with one query a line, or give --query "..."')

    @property
    def index_folder(self) -> Path:
        """The folder of the index."""
        return expanded(str(self.index))

    def output_folder(self, identity: Mapping[str, Any]) -> Path:
        """The folder for a query's results: ``output``, or one named after the index, with a hash of the query's identity."""
        if self.output:
            return expanded(self.output)
        asked = self._asked() | {"question": identity}
        name = hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()[:8]
        return Path("runs", "retrieve-images", f"{self.index_folder.name}-{name}")

    def _asked(self) -> dict[str, Any]:
        asked = asdict(self)
        del asked["run"], asked["output"]
        return asked

    def claim(self) -> tuple[str, str] | None:
        """The output folder that the user named and the identity of its query; None if no folder was named."""
        return (self.output, json.dumps(self._asked(), sort_keys=True, default=str)) if self.output else None
