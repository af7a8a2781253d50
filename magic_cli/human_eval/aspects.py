"""What people are asked about a story: the four aspects of the paper, each from 1 to 5."""

from __future__ import annotations

from dataclasses import dataclass

LOWEST, HIGHEST = 1, 5


@dataclass(frozen=True)
class Aspect:
    """One question."""

    key: str
    """As in answer files and scores.json."""
    label: str
    definition: str
    """In the paper's words, as the form shows it."""
    about_photo: bool = False
    """Asked only where the title has a photo."""


ASPECTS = (
    Aspect("relevance", "Relevance", "The story is related to the title."),
    Aspect("fluency", "Fluency", "The story is fluent and easy to understand."),
    Aspect("informativeness", "Informativeness", "The story is diverse and interesting."),
    Aspect("story_image_relevance", "Story-image relevance", "The story is consistent with the photo.", about_photo=True),
)


def aspects_asked(has_photo: bool) -> tuple[Aspect, ...]:
    """The questions about a story whose title has a photo, or has none."""
    return tuple(aspect for aspect in ASPECTS if has_photo or not aspect.about_photo)
