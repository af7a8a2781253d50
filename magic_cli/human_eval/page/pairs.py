"""A form of pairs: the prompt, two answers side by side, and questions about both."""

from __future__ import annotations

from collections.abc import Sequence

from magic_cli.human_eval.aspects import IMAGE, PAIRS, PREFERS_A, PREFERS_B, TIE
from magic_cli.human_eval.forms import Form, question_name
from magic_cli.human_eval.page.questions import question
from magic_cli.human_eval.pairs import PairCard, Shown
from magic_cli.pages.html import as_html

HEADING, UNIT = "Which answer is better?", "Pair"
_MEANINGS = {PREFERS_A: "A is better", TIE: "Both are alike", PREFERS_B: "B is better"}


def shown_in(form: Form) -> list[str]:
    """What at least one card shows; some questions need it."""
    return list(dict.fromkeys(kind for card in form.cards for kind in card.keyed()["shown"]))


def instructions(form: Form) -> str:
    """The instructions before the questions are explained."""
    pairs = "one pair" if len(form.cards) == 1 else f"{len(form.cards)} pairs"
    return (
        f"<p>You will see {pairs} of answers, A and B, to the same texts and pictures. An answer is a text, a picture, or both, and may have "
        "several steps. For each question say which answer is better, or that both are alike. A and B mean nothing and change from pair to "
        "pair.</p>"
    )


KEYS = (
    "<kbd>1</kbd> stands for A, <kbd>2</kbd> for a tie, <kbd>3</kbd> for B, and goes on to the next question; <kbd>Tab</kbd>, "
    "<kbd>Shift</kbd>+<kbd>Tab</kbd> and the arrow keys move."
)


def section(number: int, card: PairCard, count: int) -> str:
    """One pair."""
    given = _given(card.given, "Before") if card.given else ""
    steps = "\n".join(_step(told, sides) for told, sides in card.steps)
    questions = "\n".join(
        question(question_name(number, "", aspect.key), aspect, PAIRS.choices, meanings=_MEANINGS, ends=("", ""))
        for aspect in PAIRS.asked(card.keyed()["shown"])
    )
    return (
        f'<section class="card" id="card-{number}" aria-labelledby="heading-{number}" hidden>\n'
        f'<h2 id="heading-{number}" tabindex="-1"><small>{HEADING}</small>Pair {number} of {count}</h2>\n{given}{steps}\n'
        f'<article aria-labelledby="heading-{number}">\n<div class="questions">\n{questions}\n</div>\n</article>\n</section>'
    )


def _step(told: Sequence[Shown], sides: Sequence[Sequence[Shown]]) -> str:
    columns = "\n".join(
        f'<div class="side"><h3>{letter}</h3>{_parts(side) or "<p>(nothing)</p>"}</div>'
        for letter, side in zip("AB", sides, strict=True)
    )
    return f'{_given(told, "Given")}<div class="sides">\n{columns}\n</div>'


def _given(parts: Sequence[Shown], heading: str) -> str:
    return f'<div class="given"><h3>{heading}</h3>{_parts(parts)}</div>\n' if parts else ""


def _parts(parts: Sequence[Shown]) -> str:
    return "".join(
        f'<img src="{content}" alt="A picture">' if kind == IMAGE else f'<p class="story">{as_html(content)}</p>'
        for kind, content in parts
    )
