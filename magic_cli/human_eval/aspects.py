"""What people are asked: about a story the four aspects of MAGIC's paper, each from 1 to 5; about two answers which one is better."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True)
class Aspect:
    """One question."""

    key: str
    """As in answer files and scores.json."""
    label: str
    definition: str
    """In the paper's words, as the form shows it."""
    needs: frozenset[str] = frozenset()
    """Asked only where this is shown: a ``photo``; of answers ``text`` or ``image``."""


@dataclass(frozen=True)
class Judging:
    """A kind of study: what is judged, by which questions."""

    aspects: tuple[Aspect, ...]
    choices: Mapping[int, str]
    """Answers that may be given to each question, by number from 1, and what the form calls them."""
    unit: str
    """What a card is about."""
    piece: str
    """What each system has made for it, with its article."""
    is_of_pairs: bool = False
    """A question is about all that a card shows, not about one system's piece."""

    @property
    def lowest(self) -> int:
        return min(self.choices)

    @property
    def highest(self) -> int:
        return max(self.choices)

    def asked(self, shown: Collection[str]) -> tuple[Aspect, ...]:
        """The questions about what shows these."""
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
            "language", "Language continuity", "Whose text goes on more naturally from what was given?", needs=frozenset({TEXT})
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
