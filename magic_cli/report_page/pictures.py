"""The thumbnails of a page. Each image appears once, inside the page or as a file beside it."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

from magic_cli.data.addresses import state_of
from magic_cli.data.images import StoredImage, UnreadableImage, thumbnail
from magic_cli.data.paths import make_output
from magic_cli.errors import MagicError
from magic_cli.files import write_atomically
from magic_cli.report_page.settings import EMBEDDED_AT_MOST, Pictures
from magic_cli.terminal.progress import progress

_THREADS = 4
_QUALITY = 72
_THUMBNAIL = re.compile(r"[0-9a-f]{24}\.img")
"""The names of thumbnails that magic itself makes in the folder beside a page."""
_WHOLE_BELOW = 65
"""Pixels. Small images, as small models draw them, are kept without loss; a photo of this size would need ten times the space."""


class PictureList:
    """Collects the images of a page, and then makes their thumbnails.

    Args:
        kind: Where the thumbnails are kept.
        side: Pixels of the long side.
        page: The file of the page.
    """

    def __init__(self, kind: Pictures, side: int, page: Path) -> None:
        self._kind, self._side = kind, side
        self.folder = page.with_name(f"{page.stem}_images")
        self._numbers: dict[Path | StoredImage, int] = {}

    def number(self, file: Path | StoredImage | None) -> int | None:
        """The place of an image in ``make``'s list; None: there is none, or images are not shown."""
        if file is None or self._kind is Pictures.none:
            return None
        return self._numbers.setdefault(file.absolute(), len(self._numbers))

    @property
    def are_embedded(self) -> bool:
        """Whether thumbnails are kept inside the page."""
        if self._kind is Pictures.auto:
            return len(self._numbers) <= EMBEDDED_AT_MOST
        return self._kind is Pictures.embedded

    def make(self) -> list[dict[str, str]]:
        """For each image its ``name``, and its ``src`` or a ``fault``: the reason why it cannot be shown.

        Raises:
            MagicError: The folder beside the page cannot be made.
        """
        files = list(self._numbers)
        if files and not self.are_embedded:
            make_output(self.folder)
        with ThreadPoolExecutor(_THREADS) as pool, progress(len(files), "thumbnails", "image") as bar:
            made = []
            for picture in pool.map(self._make, files):
                made.append(picture)
                bar.update(1)
        return made

    def _make(self, file: Path | StoredImage) -> dict[str, str]:
        name = file.name.encode(errors="backslashreplace").decode()
        try:
            return {"name": name, "src": self._embedded(file) if self.are_embedded else self._linked(file)}
        except UnreadableImage as fault:
            return {"name": name, "fault": str(fault)}

    def _embedded(self, file: Path | StoredImage) -> str:
        kind, data = self._thumbnail(file)
        return f"data:image/{kind.lower()};base64,{base64.b64encode(data).decode()}"

    def _thumbnail(self, file: Path | StoredImage) -> tuple[str, bytes]:
        return thumbnail(file, side=self._side, whole_below=_WHOLE_BELOW, quality=_QUALITY, kind="WEBP")

    def _linked(self, file: Path | StoredImage) -> str:
        """Its address beside the page; one that was made of the very same file stays."""
        try:
            version = self._version(file)
        except (OSError, ValueError, MagicError) as error:
            raise UnreadableImage(getattr(error, "strerror", None) or str(error)) from error
        data = None
        if version is None:  # only the image itself tells
            data = self._thumbnail(file)[1]
            version = hashlib.sha256(data).hexdigest()
        made_of = f"{file}\0{version}\0{self._side}"
        target = self.folder / f"{hashlib.sha256(made_of.encode(errors='surrogateescape')).hexdigest()[:24]}.img"
        if not target.exists():
            write_atomically(target, self._thumbnail(file)[1] if data is None else data)
        return quote(f"{self.folder.name}/{target.name}", errors="surrogateescape")

    def _version(self, file: Path | StoredImage) -> str | None:
        """Changes when the image may have; None: that cannot be told."""
        if isinstance(file, StoredImage):
            return state_of(file.container)
        facts = file.stat()
        return f"{facts.st_mtime_ns}\0{facts.st_size}"

    def delete_others(self, made: Iterable[Mapping[str, str]]) -> None:
        """Delete thumbnails of an earlier page with the same name, and their folder if it is then empty.

        Args:
            made: The images of the page that is written now.
        """
        if not self.folder.is_dir():
            return
        kept = {picture["src"].rpartition("/")[2] for picture in made if "src" in picture and not self.are_embedded}
        for file in list(self.folder.iterdir()):
            if _THUMBNAIL.fullmatch(file.name) and file.name not in kept:
                file.unlink()
        if not any(self.folder.iterdir()):
            self.folder.rmdir()
