"""A form of stories: a title, its photo, and each system's story with its own questions."""

from __future__ import annotations

from magic_cli.human_eval.aspects import PHOTO, STORIES
from magic_cli.human_eval.forms import Form, StoryCard, question_name
from magic_cli.human_eval.page.questions import question
from magic_cli.pages.html import as_html

HEADING, UNIT = "How good are these stories?", "Title"
_MEANINGS = {STORIES.lowest: f"{STORIES.lowest}, the worst", STORIES.highest: f"{STORIES.highest}, the best"}


def shown_in(form: Form) -> list[str]:
    """What at least one card shows; some questions need it."""
    return [PHOTO] if any(isinstance(card, StoryCard) and card.photo for card in form.cards) else []


def instructions(form: Form) -> str:
    """The instructions before the questions are explained."""
    cards = "one title" if len(form.cards) == 1 else f"{len(form.cards)} titles"
    return (
        f"<p>You will see {cards} with several stories each, some beside a photo. Read each story and answer every question with a number from "
        "1, the worst, to 5, the best. Judge each story by itself: the letters and their order mean nothing and change from title to title.</p>"
    )


KEYS = (
    "<kbd>1</kbd> to <kbd>5</kbd> answers a question and goes on to the next one; <kbd>Tab</kbd>, <kbd>Shift</kbd>+<kbd>Tab</kbd> "
    "and the arrow keys move."
)


def section(number: int, card: StoryCard, count: int) -> str:
    """One title."""
    title = as_html(card.item.title)
    stories = "\n".join(_story(number, letter, text, has_photo=card.photo is not None) for letter, text in card.labelled())
    photo = f'<figure><img src="{card.photo}" alt="The photo for this title"></figure>\n' if card.photo else ""
    return (
        f'<section class="card" id="card-{number}" aria-labelledby="heading-{number}" hidden>\n'
        f'<h2 id="heading-{number}" tabindex="-1"><small>Title {number} of {count}</small>{title}</h2>\n'
        f'<div class="columns{" with-photo" if card.photo else ""}">\n{photo}<div>\n{stories}\n</div>\n</div>\n</section>'
    )


def _story(number: int, letter: str, text: str, *, has_photo: bool) -> str:
    place = f"story-{number}-{letter}"
    questions = "\n".join(
        question(question_name(number, letter, aspect.key), aspect, STORIES.choices, meanings=_MEANINGS, ends=("worst", "best"))
        for aspect in STORIES.asked([PHOTO] * has_photo)
    )
    return (
        f'<article aria-labelledby="{place}">\n<h3 id="{place}">Story {letter}</h3>\n<p class="story">{as_html(text)}</p>\n'
        f'<div class="questions">\n{questions}\n</div>\n</article>'
    )
