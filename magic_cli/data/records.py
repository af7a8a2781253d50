"""One image to caption, and what its data set says about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from magic_cli.data.images import StoredImage
from magic_cli.errors import MagicError


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image and, if the data set has them, its reference captions."""

    id: str
    """Unique in its data set; names the item in every output file."""
    path: Path | StoredImage
    image_name: str
    """The file name in the data set."""
    split: str | None = None
    references: tuple[str, ...] = field(default=())
    image_id: int | str | None = None
    """The id for COCO's result format; ``id`` unless the data set has another."""


def check_unique(records: Sequence[ImageRecord], source: str, remedy: str) -> None:
    """Refuse two records with the same id, because their captions could not be told apart.

    Args:
        records: All of a data set.
        source: The setting that names it.
        remedy: What the user can do.

    Raises:
        MagicError: Names the first repeated id.
    """
    seen: set[str] = set()
    for record in records:
        if record.id in seen:
            first = next(other for other in records if other.id == record.id)
            raise MagicError(f"{source}: the id {record.id!r} stands for both {first.path} and {record.path}; {remedy}")
        seen.add(record.id)
