"""Data sets of texts and images in turn. As in datasets.py, each is a dataclass of settings that loads its own items."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from magic_cli.data.dataset_settings import DatasetSettings
from magic_cli.data.interleaved import HINT, InterleavedItem, Part, Step, read_interleaved
from magic_cli.data.json_files import whole_characters
from magic_cli.data.named_images import typed_image
from magic_cli.data.paths import expanded
from magic_cli.errors import MagicError, SettingsError, require

IMAGE, TEXT = "image:", "text:"
"""Prefixes of parts on the command line; a part without one is a text."""
MOST_STEPS = 1000


Found = tuple[list[InterleavedItem], list[tuple[str, str]]]
"""Items, and ids without an item (because the image is missing, for instance), each with the reason."""


@dataclass
class InterleavedDataset(DatasetSettings):
    """Base class of all data sets of texts and images in turn."""

    def load(self) -> list[InterleavedItem]:
        """The items, in a fixed order.

        Raises:
            MagicError: Files are missing or malformed, or there is no item.
        """
        items = self._found[0][: self.limit]
        if not items:
            raise MagicError(f"dataset={self.name}: no items found; {self.hint()}")
        return items

    def stream(self) -> Iterator[InterleavedItem | tuple[str, str]]:
        """Yield the items of ``load`` and the entries of ``left_out`` one by one, for data sets too large for the memory."""
        yield from self._found[0][: self.limit]
        yield from self._found[1]

    def hint(self) -> str:
        return HINT

    def left_out(self) -> list[tuple[str, str]]:
        """Ids without an item, each with the reason."""
        return self._found[1]

    @cached_property
    def _found(self) -> Found:
        return self.find()

    def find(self) -> Found:
        """All items, or at least the first ``limit``, and the entries left out so far. Called once."""
        raise NotImplementedError(f"{type(self).__name__}.find")


@dataclass
class PartList(InterleavedDataset):
    """One item from the command line.

    Attributes:
        parts: Its texts and images (``image:FILE``, or an address) in order; ``text:`` before a text that begins like an image.
        num_steps: Steps of the story, 1 to 1000; the prompt of all but the first is ``again``.
        again: The prompt of each later step; the steps after it do not see it.
    """

    parts: list[str] = field(default_factory=list)
    num_steps: int = 1
    again: str = "What happens next?"

    def __post_init__(self) -> None:
        super().__post_init__()
        require("num_steps", self.num_steps, at_least=1, at_most=MOST_STEPS, prefix="dataset")
        if not self.parts:
            raise SettingsError(
                "nothing to go on: give --part TEXT and --part image:FILE, or --items FILE (see magic interleave --help)"
            )
        for part in self.parts:
            if not isinstance(part, str) or not part.removeprefix(IMAGE).removeprefix(TEXT).strip():
                raise SettingsError(f"dataset.parts: a part must be a text or image:FILE, got {part!r}")
        if self.num_steps > 1 and not self.again.strip():
            raise SettingsError(f"dataset.again={self.again!r}: must be a text that is not empty")

    def find(self) -> Found:
        first = Step(tuple(map(_part, self.parts)))
        later = Step((Part(self.again, once=True),))
        return [InterleavedItem("parts", (first, *[later] * (self.num_steps - 1)))], []


@dataclass
class ItemFile(InterleavedDataset):
    """Items in a file.

    Attributes:
        items: JSON lines of items or stories.
        root: Folder of the images in the records, or its address; null: the folder of the file.
    """

    items: str | None = None
    root: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.given("items")

    def find(self) -> Found:
        return read_interleaved(expanded(self.given("items"), "dataset.items"), setting="dataset.items", images=self.root), []


def _part(word: str) -> Part:
    if word.startswith(IMAGE):
        return Part(image=typed_image(word.removeprefix(IMAGE), "dataset.parts"))
    return Part(whole_characters(word.removeprefix(TEXT)))
