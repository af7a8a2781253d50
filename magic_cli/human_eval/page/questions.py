"""Questions as HTML: a fieldset for each, with a radio button for every choice."""

from __future__ import annotations

from collections.abc import Mapping

from magic_cli.human_eval.aspects import Aspect
from magic_cli.pages.html import as_html


def question(name: str, aspect: Aspect, choices: Mapping[int, str], *, meanings: Mapping[int, str], ends: tuple[str, str]) -> str:
    """One question.

    Args:
        name: The name in the answers.
        aspect: The question.
        choices: The text of each button, by its number.
        meanings: Other words for screen readers, by number.
        ends: Words before and after the buttons; empty: none.
    """
    buttons = "".join(
        f'<label><input type="radio" name="{name}" value="{value}" autocomplete="off" aria-label="{as_html(meanings.get(value, text))}">'
        f'<span aria-hidden="true">{as_html(text)}</span></label>'
        for value, text in choices.items()
    )
    first, last = (f'<i aria-hidden="true">{word}</i>' if word else "" for word in ends)
    return (
        f'<fieldset data-question="{name}"><legend><b>{as_html(aspect.label)}</b> <span>{as_html(aspect.definition)}</span></legend>'
        f'<div class="scale">{first}{buttons}{last}</div></fieldset>'
    )
