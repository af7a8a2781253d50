"""The questions for annotators: MAGIC's four aspects of a story, from 1 to 5; or which of two answers is better."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True)
class Aspect:
    """One question."""

    key: str
    """The name in answer files and scores.json."""
    label: str
    definition: str
    """The paper's words, as the form shows them."""
    needs: frozenset[str] = frozenset()
    """The question is asked only about a card with this: a ``photo``; for answers a ``text`` or ``image``."""


@dataclass(frozen=True)
class Judging:
    """A kind of study: what people judge, and the questions."""

    aspects: tuple[Aspect, ...]
    choices: Mapping[int, str]
    """The possible answers to each question: number from 1, and the words in the form."""
    unit: str
    """What one card is about."""
    piece: str
    """What each system made for it, with an article."""
    is_of_pairs: bool = False
    """True: a question is about the whole card; false: about one system's text."""

    @property
    def lowest(self) -> int:
        return min(self.choices)

    @property
    def highest(self) -> int:
        return max(self.choices)

    def asked(self, shown: Collection[str]) -> tuple[Aspect, ...]:
        """The questions about a card that shows these."""
        return tuple(aspect for aspect in self.aspects if aspect.needs <= set(shown))


class Kind(Enum):
    """What people judge."""

    stories = "stories"
    """Each story by itself."""
    pairs = "pairs"
    """Two systems' answers of texts and images, side by side."""

    @property
    def judging(self) -> Judging:
        return STORIES if self is Kind.stories else PAIRS


PHOTO, TEXT, IMAGE = "photo", "text", "image"

STORIES = Judging(
    (
        Aspect("relevance", "Relevance", "The story is related to the title."),
        Aspect("fluency", "Fluency", "The story is fluent and easy to understand."),
        Aspect("informativeness", "Informativeness", "The story is diverse and interesting."),
        Aspect(
            "story_image_relevance", "Story-image relevance", "The story is consistent with the photo.", needs=frozenset({PHOTO})
        ),
    ),
    {1: "1", 2: "2", 3: "3", 4: "4", 5: "5"},
    unit="title",
    piece="a story",
)

PREFERS_A, TIE, PREFERS_B = 1, 2, 3

PAIRS = Judging(
    (
        Aspect(
            "language", "Language continuity", "Whose text continues more naturally from what was given?", needs=frozenset({TEXT})
        ),
        Aspect("image_quality", "Image quality", "Whose pictures are clearer and better made?", needs=frozenset({IMAGE})),
        Aspect(
            "coherence",
            "Multimodal coherence",
            "Whose pictures fit better to its text and to what was given?",
            needs=frozenset({IMAGE}),
        ),
    ),
    {PREFERS_A: "A", TIE: "tie", PREFERS_B: "B"},
    unit="item",
    piece="an answer",
    is_of_pairs=True,
)
"""The three questions of MiniGPT-5's paper, each with a tie."""
