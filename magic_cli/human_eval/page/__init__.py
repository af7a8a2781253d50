"""A form as a single HTML file. Photos, style and script are inside, and it loads nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from string import Template

from magic_cli.data.images import StoredImage, UnreadableImage, image_uri, jpeg_uri
from magic_cli.errors import MagicError
from magic_cli.human_eval.aspects import Kind
from magic_cli.human_eval.forms import Form
from magic_cli.human_eval.page import pairs, stories
from magic_cli.pages.html import as_html, document

_JPEG_QUALITY = 85
_SHOWING = {Kind.stories: stories, Kind.pairs: pairs}


def photo_uri(path: Path | StoredImage, *, side: int) -> str:
    """A photo as a data URI: upright, at most ``side`` pixels long, without its name and metadata.

    Raises:
        MagicError: It cannot be read; names the file and the reason.
    """
    return _shown(lambda: jpeg_uri(path, side=side, quality=_JPEG_QUALITY), path, "title")


def picture_uri(path: Path | StoredImage, *, side: int) -> str:
    """As ``photo_uri``, but small pictures, as drawn ones may be, are kept without loss."""
    return _shown(lambda: image_uri(path, side=side), path, "item")


def _shown(uri: Callable[[], str], path: Path | StoredImage, unit: str) -> str:
    try:
        return uri()
    except UnreadableImage as error:
        raise MagicError(f"{path}: cannot be shown ({error}); replace the photo, or leave this {unit} out") from error


def page(form: Form, study: str) -> str:
    """The HTML file of a form.

    Args:
        form: The form.
        study: Id shared by all forms of the study.
    """
    folder, showing = Path(__file__).parent, _SHOWING[form.kind]
    template, style, script = ((folder / f"form.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
    asked = form.kind.judging.asked(showing.shown_in(form))
    body = Template(template).substitute(
        heading=showing.HEADING,
        unit=showing.UNIT,
        instructions=showing.instructions(form),
        keys=showing.KEYS,
        questions=len(form.questions()),
        definitions="\n".join(f"<dt>{as_html(aspect.label)}</dt><dd>{as_html(aspect.definition)}</dd>" for aspect in asked),
        sections="\n".join(showing.section(number, card, len(form.cards)) for number, card in enumerate(form.cards, start=1)),
    )
    about = {"data-study": study, "data-form": form.id, "data-annotator": str(form.annotator), "data-unit": showing.UNIT}
    return document(f"{showing.HEADING} Form {form.annotator}", body, style=style, scripts=[script], attributes=about)
