"""What one captioner or story writer has put out, whatever file it came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from magic_cli.data.answers import Answer


@dataclass(frozen=True)
class System:
    """One captioner's output, or one story writer's."""

    name: str
    source: Path
    captions: dict[str, str]
    """Caption, or story, of each id, in the file's order."""
    references: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """References of the ids for which the file has them."""
    images: dict[str, str] = field(default_factory=dict)
    """Image file of the ids for which the file names one, as it stands there."""
    retrieved: dict[str, Path] = field(default_factory=dict)
    """Image files that were found for stories without one; they lie where this says, whatever folder has the others."""
    keys: tuple[str, str] | None = None
    """Under which keys the first record that names an image has its id and its image; None: there is no such record."""
    ids_are_chosen: bool = False
    """Whether the user has said which key holds the ids."""
    manifest: dict[str, Any] | None = None
    """manifest.json of a run folder."""
    failed: int = 0
    """Items of a run folder that are known to have no text: failed ones, and one whose line is half-written."""
    splits: dict[str, str] = field(default_factory=dict)
    """Split of the ids for which the file says it."""
    planned: int | None = None
    """Items that a run is to write for, where its manifest says it."""
    titles: dict[str, str] = field(default_factory=dict)
    """Title that each story was written for; empty: these are captions."""
    ranks: dict[str, int] = field(default_factory=dict)
    """Of stories: which of its title's images each was written for, from 1 for the best; not there: written without one."""
    answers: dict[str, tuple[Answer, ...]] = field(default_factory=dict)
    """The answers to each item's steps, if these are items of texts and images."""
    title_ids: dict[str, str] = field(default_factory=dict)
    """Id of the title of each story that has a rank."""
    failed_ranks: tuple[int, ...] = ()
    """Rank of each failed story that has one."""
    skipped_ranks: tuple[int, ...] = ()
    """Rank of each story that was left out on purpose."""
    rank: int | None = None
    """The one rank of all its stories, once they have been parted by rank."""

    @property
    def writes_stories(self) -> bool:
        """Whether these are stories, not captions."""
        return bool(self.titles)
