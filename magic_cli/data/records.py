"""One image to caption, and what its data set says about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from magic_cli.errors import MagicError


@dataclass(frozen=True)
class ImageRecord:
    """One image and, if the data set has them, its reference captions."""

    id: str
    """Unique in its data set; names the item in every output file."""
    path: Path
    image_name: str
    """The file name in the data set."""
    split: str | None = None
    references: tuple[str, ...] = field(default=())
    image_id: int | str | None = None
    """The id for COCO's result format; ``id`` unless the data set has another."""


def check_unique(records: Sequence[ImageRecord], source: str) -> None:
    """Refuse two records with the same id, because their captions could not be told apart.

    Raises:
        MagicError: Names the first repeated id.
    """
    seen: dict[str, ImageRecord] = {}
    for record in records:
        if record.id in seen:
            raise MagicError(
                f"{source}: the id {record.id!r} belongs to both {seen[record.id].path} and {record.path}; ids must differ"
            )
        seen[record.id] = record
