"""What one captioner or story writer has put out, whatever file it came from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from magic_cli.data.answers import Answer


@dataclass(frozen=True, slots=True)
class Item:
    """One caption, or one story, and what its file says of it."""

    id: str
    text: str
    references: tuple[str, ...] = ()
    """Empty: the file has none."""
    image: str | None = None
    """Image file as it is named there; None: it names none."""
    guessed_image: str | None = None
    """Image file under a key that need not mean the item's image; it counts only where no id and no name does."""
    image_sha256: str | None = None
    """Of the image file as a run of ours has read it; None: not known."""
    split: str | None = None
    title: str | None = None
    """What a story was written for; None: this is a caption."""
    rank: int | None = None
    """Of a story: which of its title's images it was written for, from 1 for the best; None: it was written without one."""
    title_id: str | None = None
    """Id of the title of a story that has a rank."""
    answers: tuple[Answer, ...] = ()
    """To each step of an item of texts and images; ``text`` is then their whole text."""
    retrieved: Path | None = None
    """Image file that was found for a story without one; it lies where this says, whatever folder has the others."""


@dataclass(frozen=True)
class System:
    """One captioner's output, or one story writer's."""

    name: str
    source: Path
    items: tuple[Item, ...]
    """In the file's order; each id stands once. Either all have a title, or none has."""
    keys: tuple[str, str] | None = None
    """Under which keys the first record that names an image has its id and its image; None: there is no such record."""
    ids_are_chosen: bool = False
    """Whether the user has said which key holds the ids."""
    manifest: dict[str, Any] | None = None
    """manifest.json of a run folder."""
    failed: int = 0
    """Items of a run folder that are known to have no text: failed ones, and one whose line is half-written."""
    planned: int | None = None
    """Items that a run is to write for, where its manifest says it."""
    failed_ranks: tuple[int, ...] = ()
    """Rank of each failed story that has one."""
    skipped_ranks: tuple[int, ...] = ()
    """Rank of each story that was left out on purpose."""
    rank: int | None = None
    """The one rank of all its stories, once they have been parted by rank."""

    @property
    def writes_answers(self) -> bool:
        """Whether these are items of texts and images, with answers to their steps."""
        return any(item.answers for item in self.items)

    @property
    def writes_stories(self) -> bool:
        """Whether these are stories, not captions."""
        return any(item.title is not None for item in self.items)
