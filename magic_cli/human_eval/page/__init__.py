"""A form as one HTML file that needs nothing else: photos, style and script are in it, and it may load nothing."""

from __future__ import annotations

from pathlib import Path
from string import Template

from magic_cli.data.images import UnreadableImage, jpeg_uri
from magic_cli.errors import MagicError
from magic_cli.human_eval.aspects import HIGHEST, LOWEST, Aspect, aspects_asked
from magic_cli.human_eval.forms import Card, Form, question_name
from magic_cli.pages.html import as_html, document

_JPEG_QUALITY = 85


def photo_uri(path: Path, *, side: int) -> str:
    """A photo as a data URI: upright, at most ``side`` pixels long, without its name and metadata.

    Raises:
        MagicError: It cannot be read; names the file and the reason.
    """
    try:
        return jpeg_uri(path, side=side, quality=_JPEG_QUALITY)
    except UnreadableImage as error:
        raise MagicError(f"{path}: cannot be shown ({error}); replace the photo, or leave this title out") from error


def page(form: Form, study: str) -> str:
    """The HTML file of a form.

    Args:
        form: What it shows.
        study: Id of all forms that belong together.
    """
    folder = Path(__file__).parent
    template, style, script = ((folder / f"form.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
    asked = aspects_asked(any(card.photo for card in form.cards))
    body = Template(template).substitute(
        questions=len(form.questions()),
        cards="one title" if len(form.cards) == 1 else f"{len(form.cards)} titles",
        definitions="\n".join(f"<dt>{as_html(aspect.label)}</dt><dd>{as_html(aspect.definition)}</dd>" for aspect in asked),
        sections="\n".join(_section(number, card, len(form.cards)) for number, card in enumerate(form.cards, start=1)),
    )
    about = {"data-study": study, "data-form": form.id, "data-annotator": str(form.annotator)}
    return document(f"How good are these stories? Form {form.annotator}", body, style=style, scripts=[script], attributes=about)


def _section(number: int, card: Card, count: int) -> str:
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
    questions = "\n".join(_question(question_name(number, letter, aspect.key), aspect) for aspect in aspects_asked(has_photo))
    return (
        f'<article aria-labelledby="{place}">\n<h3 id="{place}">Story {letter}</h3>\n<p class="story">{as_html(text)}</p>\n'
        f'<div class="questions">\n{questions}\n</div>\n</article>'
    )


def _question(name: str, aspect: Aspect) -> str:
    choices = "".join(
        f'<label><input type="radio" name="{name}" value="{score}" autocomplete="off" aria-label="{score}{_meaning(score)}">'
        f'<span aria-hidden="true">{score}</span></label>'
        for score in range(LOWEST, HIGHEST + 1)
    )
    return (
        f'<fieldset data-question="{name}"><legend><b>{as_html(aspect.label)}</b> <span>{as_html(aspect.definition)}</span></legend>'
        f'<div class="scale"><i aria-hidden="true">worst</i>{choices}<i aria-hidden="true">best</i></div></fieldset>'
    )


def _meaning(score: int) -> str:
    return {LOWEST: ", the worst", HIGHEST: ", the best"}.get(score, "")
