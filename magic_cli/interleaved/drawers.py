"""Draws images from the states of vokens, or from a text."""

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
    """The text and the image for one prompt."""

    ids: list[int]
    """The generated tokens, vokens included."""
    before: str
    """The text before the image, or all text if there is no image."""
    after: str = ""
    """The text after the image."""
    features: Tensor | None = None
    """(n, H) states from which the vokens were chosen; None: there are no vokens."""
    description: str = ""
    """The text from which the image is drawn; None: it is not drawn from a text."""
    image: Image | None = None

    @property
    def text(self) -> str:
        """The whole text."""
        return " ".join(text for text in (self.before, self.after) if text)


@dataclass(frozen=True)
class How:
    """How images are sampled: the arguments of ``Drawing.draw``."""

    guidance: float
    steps: int
    sampler: Any


class Drawer(Protocol):
    """Draws the images of answers."""

    def has_image(self, answer: Answer) -> bool:
        """Whether the answer holds anything to draw from."""
        ...

    def draw(self, answers: Sequence[Answer], seeds: Sequence[int], how: How) -> list[Image]:
        """Draw the images, sampled together. Each answer holds something to draw from and has its own seed."""
        ...


class VokenDrawer:
    """Draws from the states from which the vokens were chosen (implements ``Drawer``)."""

    def __init__(self, model: InterleavedModel) -> None:
        self.model = model

    def has_image(self, answer: Answer) -> bool:
        return answer.features is not None

    def draw(self, answers: Sequence[Answer], seeds: Sequence[int], how: How) -> list[Image]:
        features = [answer.features for answer in answers if answer.features is not None]
        assert len(features) == len(seeds), "who has no features has no image to draw"
        return self.model.draw(torch.stack(features), seeds, guidance=how.guidance, steps=how.steps, sampler=how.sampler)


class TextDrawer:
    """Draws from texts alone; needs no language model (implements ``Drawer``).

    Args:
        drawing: The diffusion model.
        conditions: The text encoder of the diffusion model.
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
    """Draw the images of all answers that have one, together; each answer has its own seed."""
    chosen = [(answer, seed) for answer, seed in zip(answers, seeds, strict=True) if drawer.has_image(answer)]
    if not chosen:
        return
    some, their_seeds = zip(*chosen, strict=True)
    for answer, image in zip(some, drawer.draw(some, their_seeds, how), strict=True):
        answer.image = image
