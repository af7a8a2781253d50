"""Where items of text and images come from. As with images (datasets.py), each dataset is a dataclass of settings that loads its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from magic_cli.data.interleaved import HINT, InterleavedItem, Part, Step, part_of, read_interleaved
from magic_cli.data.paths import expanded
from magic_cli.errors import MOST_ITEMS, MagicError, SettingsError, require

IMAGE, TEXT = "image:", "text:"
"""What a part of the command line begins with; a part without is a text."""
MOST_STEPS = 1000


@dataclass
class InterleavedDataset:
    """Base of all datasets of texts and images in turn.

    Attributes:
        name: What runs and tables call it.
        limit: Only the first so many items, at least 1; null: all.
        skip_greyscale: Refuse prompts with single-channel images.
        apply_exif_orientation: Turn photos upright that carry an EXIF orientation.
    """

    name: str
    limit: int | None = None
    skip_greyscale: bool = False
    apply_exif_orientation: bool = True

    def __post_init__(self) -> None:
        if self.limit is not None:
            require("limit", self.limit, at_least=1, limit=MOST_ITEMS, prefix="dataset")

    def load(self) -> list[InterleavedItem]:
        """The items, in a fixed order.

        Raises:
            MagicError: Files are missing or malformed, or there is no item.
        """
        items = self.read()[: self.limit]
        if not items:
            raise MagicError(f"dataset={self.name}: no items found; {HINT}")
        return items

    def read(self) -> list[InterleavedItem]:
        """All items."""
        raise NotImplementedError(f"{type(self).__name__}.read")

    def left_out(self) -> list[tuple[str, str]]:
        """Ids that ``read`` gives no items for, such as those whose image is missing, each with the reason."""
        return []


@dataclass
class PartList(InterleavedDataset):
    """One item from the command line.

    Attributes:
        parts: Its texts and images (``image:FILE``) in their order; ``text:`` opens a text that begins like an image.
        num_steps: Steps of the story, 1 to 1000; those after the first are told ``again``.
        again: What each later step is told, in that step only.
    """

    parts: list[str] = field(default_factory=list)
    num_steps: int = 1
    again: str = "What happens next?"

    def __post_init__(self) -> None:
        super().__post_init__()
        require("num_steps", self.num_steps, at_least=1, at_most=MOST_STEPS, prefix="dataset")
        if not self.parts:
            raise SettingsError("nothing to go on: give --part TEXT and --part image:FILE, or --items FILE (see magic interleave --help)")
        for part in self.parts:
            if not isinstance(part, str) or not part.removeprefix(IMAGE).removeprefix(TEXT).strip():
                raise SettingsError(f"dataset.parts: a part must be a text or image:FILE, got {part!r}")
        if self.num_steps > 1 and not self.again.strip():
            raise SettingsError(f"dataset.again={self.again!r}: must be a text that is not empty")

    def read(self) -> list[InterleavedItem]:
        first = Step(tuple(map(_part, self.parts)))
        later = Step((Part(self.again, once=True),))
        return [InterleavedItem("parts", (first, *[later] * (self.num_steps - 1)))]


@dataclass
class ItemFile(InterleavedDataset):
    """Items in a file.

    Attributes:
        items: JSON lines of items or stories.
        root: Folder of the images that the records name; null: the file's own.
    """

    items: str | None = None
    root: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.items:
            raise SettingsError(f"dataset.items is not set; {HINT}")

    def read(self) -> list[InterleavedItem]:
        return read_interleaved(expanded(self.items, "dataset.items"), setting="dataset.items", images=self.root)


def _part(word: str) -> Part:
    if word.startswith(IMAGE):
        return part_of("image", str(expanded(word.removeprefix(IMAGE))), Path())
    return part_of("text", word.removeprefix(TEXT), Path())
