"""Between token ids and the texts people read: prompts, stop rules, and how a caption or story is cut out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from magic_cli.decoding.protocols import LanguageModel

STORY_SENTENCES = 5

class TextFormat(Protocol):
    """How one kind of text starts, when it is settled, and what of it is returned."""

    def is_settled(self, generated: Sequence[int]) -> bool:
        """Whether further tokens can no longer change the returned text."""

    def text(self, prompt: Sequence[int], generated: Sequence[int]) -> str:
        """The text that is returned to the user."""


@dataclass
class CaptionFormat:
    """A caption: everything up to the first end-of-text, prompt words included, start token dropped."""

    model: LanguageModel

    def is_settled(self, generated: Sequence[int]) -> bool:
        return self.model.end_id in generated

    def text(self, prompt: Sequence[int], generated: Sequence[int]) -> str:
        words = [i for i in prompt if i not in (self.model.start_id, self.model.end_id)]
        ids = [i for i in [*words, *_until(generated, self.model.end_id)] if i != self.model.start_id]
        return " ".join(self.model.decode([ids])[0].split())


@dataclass
class StoryFormat:
    """A story: five sentences between the separator after the title and the next end-of-text."""

    model: LanguageModel

    def is_settled(self, generated: Sequence[int]) -> bool:
        if self.model.end_id in generated:
            return True
        # a piece after the fifth full stop exists, so the first five can no longer change
        return self.model.decode([list(generated)])[0].count(".") >= STORY_SENTENCES

    def text(self, prompt: Sequence[int], generated: Sequence[int]) -> str:
        story = " ".join(self.model.decode([_until(generated, self.model.end_id)])[0].split())
        return first_sentences(story)


def story_prompt(title: str, separator: str) -> str:
    """What a story model reads before it writes: title, space, separator (the end-of-text token).

    >>> story_prompt("Skipping School", "<|endoftext|>")
    'Skipping School <|endoftext|>'
    """
    return f"{title} {separator}"


def first_sentences(story: str) -> str:
    """The first five sentences by the rule of the released evaluation: only '.' ends a sentence.

    >>> first_sentences("One. Two. Three. Four. Five. Six.")
    'One. Two. Three. Four. Five.'
    >>> first_sentences("One! Two.")
    'One! Two'
    """
    pieces = story.split(".")
    kept = ".".join(pieces[:STORY_SENTENCES]).strip(".")
    return f"{kept}." if len(pieces) > STORY_SENTENCES else kept


def _until(ids: Sequence[int], end_id: int) -> list[int]:
    ids = list(ids)
    return ids[: ids.index(end_id)] if end_id in ids else ids
