"""Turns parts into what the language model reads: texts and images in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from string import Formatter

from magic_cli.data.images import StoredImage
from magic_cli.data.interleaved import InterleavedItem, Part
from magic_cli.errors import SettingsError

Piece = str | Path | StoredImage
"""A piece of text, or an image."""

_SLOT = "\0"
_FIELDS = ("system", "history", "parts")


class Context(Enum):
    """Which parts of the history a step sees."""

    none = "none"
    text = "text"
    image = "image"
    both = "both"

    def keeps(self, part: Part) -> bool:
        """Whether a step sees this part."""
        return self is Context.both or self.value == ("text" if part.image is None else "image")


@dataclass
class PromptSettings:
    """How parts become a prompt: system + history + the step's own parts.

    Attributes:
        template: The whole prompt, with {system}, {history} and {parts} in place; {parts} is required.
        system: The value of {system}.
        between: Text between two parts.
        after_history: Text after the history, if there is one.
        image: How an image appears in the text; {image} is the model's slot for it.
    """

    template: str = "{system}###Human: {history}{parts} ###Assistant:"
    system: str = ""
    between: str = " "
    after_history: str = " "
    image: str = "<Img>{image}</Img>"

    def __post_init__(self) -> None:
        names = _names("template", self.template)
        unknown = [name for name in names if name not in _FIELDS]
        if unknown:
            raise SettingsError(
                f"prompt.template={self.template!r}: {{{unknown[0]}}} is unknown; it may hold {{system}}, {{history}} and {{parts}}"
            )
        if names.count("parts") != 1 or any(names.count(name) > 1 for name in names):
            raise SettingsError(
                f"prompt.template={self.template!r}: must hold {{parts}} once, and {{system}} and {{history}} at most once"
            )
        check_image(self.image)

    def render(self, parts: Sequence[Part], history: Sequence[Part]) -> list[Piece]:
        """The prompt as texts and images in order, without two texts side by side."""
        behind = [self.after_history] if history else []
        fields: dict[str, list[Piece]] = {
            "system": [self.system],
            "history": [*pieces_of(history, self.between, self.image), *behind],
            "parts": pieces_of(parts, self.between, self.image),
        }
        pieces: list[Piece] = []
        for literal, name, _, _ in Formatter().parse(self.template):
            pieces += [literal, *(fields[name] if name else [])]
        return merged(pieces)


def step_prompt(
    item: InterleavedItem, number: int, answers: Sequence[Sequence[Part]], context: Context, settings: PromptSettings
) -> list[Piece]:
    """What the model reads for step ``number`` (from 0), given these answers to the steps before it."""
    history = [part for part in item.history(number, answers) if context.keeps(part)]
    return settings.render(item.steps[number].parts, history)


def told_text(item: InterleavedItem, number: int, answers: Sequence[Sequence[Part]], context: Context) -> str:
    """The words that a diffusion model reads for step ``number`` (from 0): those of the kept history, then the step's own.

    Instructions (``once``) count only if the step has no other words.
    """
    texts = [(part.text, part.once) for part in item.steps[number].parts if part.text is not None]
    lasting = [text for text, once in texts if not once] or [text for text, _ in texts]
    history = [part.text for part in item.history(number, answers) if part.text is not None and context.keeps(part)]
    return " ".join(" ".join(text.split()) for text in (*history, *lasting))


def check_image(image: str) -> None:
    """Check the text that surrounds an image.

    Raises:
        SettingsError: It does not contain the model's slot exactly once.
    """
    if _names("image", image) != ["image"]:
        raise SettingsError(f"prompt.image={image!r}: must hold {{image}} once, the model's slot for an image")


def pieces_of(parts: Sequence[Part], between: str, image: str) -> list[Piece]:
    """The parts with the text between them; each image is written as in ``image``."""
    before, _, after = _literal(image).partition(_SLOT)
    pieces: list[Piece] = []
    for part in parts:
        pieces += [between] if pieces else []
        pieces += [part.text or ""] if part.image is None else [before, part.image, after]
    return pieces


def _literal(image: str) -> str:
    """The text around an image, with ``_SLOT`` for the image itself."""
    return "".join(literal + (_SLOT if name else "") for literal, name, _, _ in Formatter().parse(image))


def merged(pieces: Sequence[Piece]) -> list[Piece]:
    """The pieces without empty texts, and with neighbouring texts joined."""
    joined: list[Piece] = []
    for piece in pieces:
        if isinstance(piece, str) and joined and isinstance(joined[-1], str):
            joined[-1] += piece
        elif piece != "":
            joined.append(piece)
    return joined


def _names(setting: str, template: str) -> list[str]:
    """The names in braces, in order.

    Raises:
        SettingsError: The braces do not match.
    """
    try:
        found = list(Formatter().parse(template))
    except ValueError as error:
        raise SettingsError(f"prompt.{setting}={template!r}: {error}; a brace that is meant is written twice") from None
    for _, name, form, conversion in found:
        if name is not None and (form or conversion or not name.isidentifier()):
            raise SettingsError(f"prompt.{setting}={template!r}: {{{name}}} must be a plain name")
    return [name for _, name, _, _ in found if name is not None]
