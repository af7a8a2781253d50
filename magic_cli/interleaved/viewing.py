"""How the models of a run read images: the language model through its vision encoder, a guide through an image-text model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from magic_cli.interleaved.vision import prepare_pixels

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from magic_cli.interleaved.model import InterleavedModel
    from magic_cli.models.image_text.image_text_model import ImageTextModel
    from magic_cli.models.work_counter import WorkCounter

_SEEN_TOGETHER = 32


@dataclass(frozen=True)
class Seen:
    """The representations of one image."""

    vectors: Tensor
    """(q, D) vectors for a prompt."""
    feature: Tensor | None = None
    """(E,) feature of the image-text model; None: there is no such model."""


class Viewer:
    """Reads images.

    Args:
        model: Its vision encoder reads every image.
        scorer: The image-text model of a guided method; None: there is none.
        work: Counts images and seconds.

    Attributes:
        prepare: Turns an RGB image into the argument of ``see``. It holds no weights, so it can run in other processes.
    """

    def __init__(self, model: InterleavedModel, scorer: ImageTextModel | None, work: WorkCounter) -> None:
        self.model, self.scorer, self.work = model, scorer, work
        self.prepare = partial(_prepare, side=model.reader.side, other=None if scorer is None else scorer.prepare_image)

    def see(self, prepared: Sequence[tuple[Any, Any]]) -> list[Seen]:
        """The representations of prepared images."""
        seen: list[Seen] = []
        for i in range(0, len(prepared), _SEEN_TOGETHER):
            pixels, others = zip(*prepared[i : i + _SEEN_TOGETHER], strict=True)
            with self.work.phase("vision"):
                self.work.add("images_read", len(pixels))
                vectors = self.model.read_images(pixels)
            features = [None] * len(pixels) if self.scorer is None else self.scorer.encode_prepared(others)
            seen += [Seen(*pair) for pair in zip(vectors, features, strict=True)]
        return seen


def _prepare(image: Image, *, side: int, other: Any) -> tuple[Any, Any]:
    return prepare_pixels(image, side), None if other is None else other(image)
