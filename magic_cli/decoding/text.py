"""Between token ids and the texts people read: prompts, stop rules, and how a caption or story is cut out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Protocol

from magic_cli.decoding.protocols import LanguageModel

if TYPE_CHECKING:
    from magic_cli.decoding.rules import StopTexts

STORY_SENTENCES = 5


class TextFormat(Protocol):
    """How one kind of text starts, when it is settled, and what of it is returned."""

    def is_settled(self, generated: Sequence[int]) -> bool:
        """Whether further tokens can no longer change the returned text."""

    def text(self, prompt: Sequence[int], generated: Sequence[int]) -> str:
        """The text that is returned to the user."""


@dataclass
class CaptionFormat:
    """A caption: everything up to the first end-of-text, or before the first text to stop at, prompt words included."""

    model: LanguageModel
    stop: StopTexts | None = None

    def is_settled(self, generated: Sequence[int]) -> bool:
        return not self.model.end_ids.isdisjoint(generated) or (self.stop is not None and self.stop.is_settled(generated))

    def text(self, prompt: Sequence[int], generated: Sequence[int]) -> str:
        words = until_end(generated, self.model.end_ids)
        [text] = self.model.decode([[*prompt, *words]])
        if self.stop is not None:  # what the prompt says stops nothing
            lead = len(self.model.decode([prompt])[0])
            text = text[:lead] + self.stop.cut(text[lead:])
        return " ".join(text.split())


@dataclass
class StoryFormat:
    """A story: five sentences between the separator after the title and the next end-of-text, or the first text to stop at."""

    model: LanguageModel
    stop: StopTexts | None = None

    def is_settled(self, generated: Sequence[int]) -> bool:
        if not self.model.end_ids.isdisjoint(generated):
            return True
        if self.stop is not None and self.stop.is_settled(generated):
            return True
        # a piece after the fifth full stop exists, so the first five can no longer change
        return self.model.decode([list(generated)])[0].count(".") >= STORY_SENTENCES

    def text(self, prompt: Sequence[int], generated: Sequence[int]) -> str:
        [story] = self.model.decode([until_end(generated, self.model.end_ids)])
        if self.stop is not None:
            story = self.stop.cut(story)
        return first_sentences(" ".join(story.split()))


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


def until_end(ids: Sequence[int], end_ids: frozenset[int]) -> list[int]:
    """The tokens before the first that ends a text.

    >>> until_end([5, 9, 7, 2], frozenset({2, 7}))
    [5, 9]
    """
    if end_ids.isdisjoint(ids):
        return list(ids)
    return list(takewhile(lambda i: i not in end_ids, ids))
