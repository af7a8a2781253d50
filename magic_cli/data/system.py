"""The output of one captioner or story writer, whatever file it came from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from magic_cli.data.answers import Answer
from magic_cli.data.images import StoredImage


@dataclass(frozen=True, slots=True)
class Item:
    """One caption or story, with the other data of its record."""

    id: str
    text: str
    references: tuple[str, ...] = ()
    """Reference texts; empty: the file has none."""
    image: str | None = None
    """The image file that the record names; None: it names none."""
    guessed_image: str | None = None
    """An image file under a key that may mean something else. It is used only if no id and no name finds the image."""
    image_sha256: str | None = None
    """SHA-256 of the image file when a run of magic read it; None: not known."""
    split: str | None = None
    title: str | None = None
    """The title of a story; None: this is a caption."""
    rank: int | None = None
    """For a story, the rank of its image among the title's images, 1 for the best; None: written without an image."""
    title_id: str | None = None
    """For a story with a rank, the id of its title."""
    answers: tuple[Answer, ...] = ()
    """The answers to the steps of an item of texts and images; ``text`` then joins their texts."""
    retrieved: Path | StoredImage | None = None
    """An image found later for a story written without one. The path is used as it is, whatever folder holds other images."""


@dataclass(frozen=True)
class System:
    """The output of one captioner or story writer."""

    name: str
    source: Path
    items: tuple[Item, ...]
    """The items in the file's order, with unique ids. Either all have a title, or none."""
    keys: tuple[str, str] | None = None
    """The keys of id and image in the first record that names an image; None: there is no such record."""
    ids_are_chosen: bool = False
    """Whether the user named the key of the ids."""
    manifest: dict[str, Any] | None = None
    """The manifest.json of a run folder."""
    failed: int = 0
    """Ids in a run folder that have no text: failures, and an item whose line is unfinished."""
    planned: int | None = None
    """The number of items in the run, if its manifest says it."""
    failed_ranks: tuple[int, ...] = ()
    """The rank of each failed story that has one."""
    skipped_ranks: tuple[int, ...] = ()
    """The rank of each story that was left out on purpose."""
    rank: int | None = None
    """The single rank of all stories, after a split by rank."""

    @property
    def writes_answers(self) -> bool:
        """Whether the items are texts and images in turn, with an answer to each step."""
        return any(item.answers for item in self.items)

    @property
    def writes_stories(self) -> bool:
        """Whether the texts are stories, not captions."""
        return any(item.title is not None for item in self.items)
