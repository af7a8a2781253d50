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
    """How one kind of text ends, and which part of it is returned."""

    def has_ended(self, generated: Sequence[int]) -> bool:
        """Whether the text has ended, by an end token or a stop text; no method continues it."""

    def is_settled(self, generated: Sequence[int]) -> bool:
        """Whether further tokens can no longer change the returned text. Beam search continues: they change its probability."""

    def cut(self, lead: Sequence[int], generated: Sequence[int]) -> str:
        """The text of ``lead``, and the part of the generated text that is returned."""

    def text(self, prompt: Sequence[int], generated: Sequence[int]) -> str:
        """The text that is returned to the user."""


@dataclass
class CaptionFormat:
    """A caption: everything up to the first end-of-text, or before the first text to stop at, prompt words included."""

    model: LanguageModel
    stop: StopTexts | None = None

    def has_ended(self, generated: Sequence[int]) -> bool:
        return not self.model.end_ids.isdisjoint(generated) or (self.stop is not None and self.stop.is_settled(generated))

    def is_settled(self, generated: Sequence[int]) -> bool:
        return self.has_ended(generated)

    def cut(self, lead: Sequence[int], generated: Sequence[int]) -> str:
        words = until_end(generated, self.model.end_ids)
        text = self.model.decode([[*lead, *words]])[0] if self.stop is None else self.stop.text(lead, words)
        return " ".join(text.split())

    def text(self, prompt: Sequence[int], generated: Sequence[int]) -> str:
        return self.cut(prompt, generated)


@dataclass
class StoryFormat(CaptionFormat):
    """A story: five sentences between the separator after the title and the next end-of-text, or the first text to stop at.

    If a minimum length reaches beyond the fifth sentence, the story ends with the sentence that it reaches into.
    """

    def is_settled(self, generated: Sequence[int]) -> bool:
        if self.has_ended(generated):
            return True
        if self.stop is not None and len(generated) < self.stop.min_length:
            return False
        # there is text after the last full stop, so everything before it is final
        return self.model.decode([list(generated)])[0].count(".") >= self._num_sentences(generated)

    def cut(self, lead: Sequence[int], generated: Sequence[int]) -> str:
        story = first_sentences(super().cut([], generated), self._num_sentences(generated))
        opening = " ".join(self.model.decode([lead])[0].split()) if lead else ""
        return f"{opening} {story}" if opening else story

    def text(self, prompt: Sequence[int], generated: Sequence[int]) -> str:
        return self.cut([], generated)

    def _num_sentences(self, generated: Sequence[int]) -> int:
        if self.stop is None or not self.stop.min_length:
            return STORY_SENTENCES
        least = self.model.decode([generated[: self.stop.min_length]])[0].rstrip()
        return max(STORY_SENTENCES, least.count(".") + (not least.endswith(".")))


@dataclass
class EveryToken(CaptionFormat):
    """As a caption, but a text always gets all tokens that fit, whatever they are; for measurements."""

    def is_settled(self, generated: Sequence[int]) -> bool:
        return False


def story_prompt(title: str, separator: str) -> str:
    """The prompt of a story model: title, space, separator (the end-of-text token).

    >>> story_prompt("Skipping School", "<|endoftext|>")
    'Skipping School <|endoftext|>'
    """
    return f"{title} {separator}"


def first_sentences(story: str, number: int = STORY_SENTENCES) -> str:
    """The first sentences by the rule of the released evaluation: only '.' ends a sentence.

    >>> first_sentences("One. Two. Three. Four. Five. Six.")
    'One. Two. Three. Four. Five.'
    >>> first_sentences("One! Two.")
    'One! Two'
    """
    pieces = story.split(".")
    kept = ".".join(pieces[:number]).strip(".")
    return f"{kept}." if len(pieces) > number else kept


def until_end(ids: Sequence[int], end_ids: frozenset[int]) -> list[int]:
    """The tokens before the first that ends a text.

    >>> until_end([5, 9, 7, 2], frozenset({2, 7}))
    [5, 9]
    """
    if end_ids.isdisjoint(ids):
        return list(ids)
    return list(takewhile(lambda i: i not in end_ids, ids))
