"""What images are drawn from: the states of vokens, or a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from magic_cli.interleaved.drawing import Drawing, to_images
from magic_cli.interleaved.text_conditions import TextConditions

if TYPE_CHECKING:
    from PIL.Image import Image

    from magic_cli.interleaved.model import InterleavedModel


@dataclass
class Answer:
    """What was written and drawn for one prompt."""

    ids: list[int]
    """Generated tokens, vokens included."""
    before: str
    """The text up to the image; all of it where there is none."""
    after: str = ""
    """The text behind the image."""
    features: Tensor | None = None
    """(n, H) the states that the vokens were chosen from; None: there are none."""
    description: str = ""
    """The text that the image is drawn from, where it is drawn from one."""
    image: Image | None = None

    @property
    def text(self) -> str:
        """All of the text."""
        return " ".join(text for text in (self.before, self.after) if text)


@dataclass(frozen=True)
class How:
    """How images are sampled: arguments of ``Drawing.draw``."""

    guidance: float
    steps: int
    sampler: Any


class Drawer(Protocol):
    """Draws the images of answers."""

    def has_image(self, answer: Answer) -> bool:
        """Whether there is something to draw from."""
        ...

    def draw(self, answers: Sequence[Answer], seeds: Sequence[int], how: How) -> list[Image]:
        """Their images, sampled together; each has something to draw from, and a seed of its own."""
        ...


class VokenDrawer:
    """Draws from the states that the vokens were chosen from (implements ``Drawer``)."""

    def __init__(self, model: InterleavedModel) -> None:
        self.model = model

    def has_image(self, answer: Answer) -> bool:
        return answer.features is not None

    def draw(self, answers: Sequence[Answer], seeds: Sequence[int], how: How) -> list[Image]:
        features = torch.stack([answer.features for answer in answers])
        return self.model.draw(features, seeds, guidance=how.guidance, steps=how.steps, sampler=how.sampler)


class TextDrawer:
    """Draws from texts alone, as a diffusion model does without a language model (implements ``Drawer``).

    Args:
        drawing: The diffusion model.
        conditions: Its text encoder.
    """

    def __init__(self, drawing: Drawing, conditions: TextConditions) -> None:
        self.drawing, self.conditions = drawing, conditions

    def has_image(self, answer: Answer) -> bool:
        return bool(answer.description)

    @torch.inference_mode()
    def draw(self, answers: Sequence[Answer], seeds: Sequence[int], how: How) -> list[Image]:
        towards = self.conditions.as_drawn([answer.description for answer in answers])
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        options = {"guidance": how.guidance, "steps": how.steps, "sampler": how.sampler}
        return to_images(self.drawing.draw(towards, self.conditions.as_drawn([""]), generators, **options))


def draw_images(drawer: Drawer, answers: Sequence[Answer], seeds: Sequence[int], how: How) -> None:
    """Draw the images of all answers that have one, together; each answer has a seed."""
    chosen = [(answer, seed) for answer, seed in zip(answers, seeds, strict=True) if drawer.has_image(answer)]
    if not chosen:
        return
    some, their_seeds = zip(*chosen, strict=True)
    for answer, image in zip(some, drawer.draw(some, their_seeds, how), strict=True):
        answer.image = image
