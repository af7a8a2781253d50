"""How the models of a run look at images: the language model through its vision encoder, a guide through an image-text model."""

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
    """What the models make of one image."""

    vectors: Tensor
    """(q, D) that stand in a prompt."""
    feature: Tensor | None = None
    """(E,) of the image-text model; None: none takes part."""


class Viewer:
    """Looks at images.

    Args:
        model: Its vision encoder looks at all.
        scorer: Looks, too, where a method is guided by it.
        work: Where images and seconds are counted.

    Attributes:
        prepare: RGB image -> what ``see`` takes. It holds no weights, so that images are prepared in other processes.
    """

    def __init__(self, model: InterleavedModel, scorer: ImageTextModel | None, work: WorkCounter) -> None:
        self.model, self.scorer, self.work = model, scorer, work
        self.prepare = partial(_prepare, side=model.reader.side, other=None if scorer is None else scorer.prepare_image)

    def see(self, prepared: Sequence[tuple[Any, Any]]) -> list[Seen]:
        """What the models make of prepared images."""
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
