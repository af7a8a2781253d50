"""Images that an earlier start of a run has read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from magic_cli.data.images import StoredImage


@dataclass(frozen=True, slots=True)
class SeenImage(StoredImage):
    """An image that need not be read again if its features are kept.

    Attributes:
        image: The image.
        digest: SHA-256 of its content then.
    """

    image: Path | StoredImage
    digest: str

    def __str__(self) -> str:
        return str(self.image)

    @property
    def name(self) -> str:
        return self.image.name
