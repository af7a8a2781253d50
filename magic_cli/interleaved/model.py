"""A model that reads and writes text and images: all its parts, as generation uses them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from magic_cli.decoding.prompts import Prompt
from magic_cli.errors import MagicError
from magic_cli.interleaved.drawing import Drawing, to_images
from magic_cli.interleaved.mapper import VokenMapper
from magic_cli.interleaved.settings import Sampler
from magic_cli.interleaved.vision import QFormerReader
from magic_cli.interleaved.vokens import IMAGE_SLOT, VokenIds
from magic_cli.models.language.language_model import HuggingFaceLanguageModel

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass
class InterleavedModel:
    """The parts, each in eval mode.

    Attributes:
        language_model: The language model; its tokenizer and its tables contain the vokens.
        ids: Ids of the vokens and the image slot.
        reader: The vision encoder.
        mapper: Maps voken states to conditions.
        drawing: The diffusion model.
    """

    language_model: HuggingFaceLanguageModel
    ids: VokenIds
    reader: QFormerReader
    mapper: VokenMapper
    drawing: Drawing

    slot_text = IMAGE_SLOT
    """The token that stands in a text for an image that the model reads."""

    @property
    def voken_ids(self) -> list[int]:
        """Ids of the vokens, in order."""
        return list(self.ids.vokens)

    @property
    def slot_id(self) -> int:
        """Id of the image slot."""
        return self.ids.slot

    def prepare_image(self, image: Image) -> np.ndarray:
        """Prepare an RGB image for ``read_images``; may run in any thread."""
        return self.reader.prepare(image)

    @torch.inference_mode()
    def read_images(self, images: Sequence[np.ndarray]) -> Tensor:
        """(N, q, D) prompt vectors of prepared images."""
        return self.reader.read(images)

    def prompt(self, text: str, images: Sequence[Tensor] = ()) -> Prompt:
        """A prompt from a text, with an image at each ``<ImageHere>``. It starts with the begin-of-text token, if there is one.

        Args:
            text: The text.
            images: (q, D) prompt vectors of each image, in order.

        Raises:
            MagicError: There are more or fewer images than slots.
        """
        ids, vectors = spread_slots(self.language_model.encode(text), self.ids.slot, images)
        begin = self.language_model.tokenizer.bos_token_id
        if begin is None:
            return Prompt(ids, vectors)
        return Prompt([begin, *ids], {place + 1: vector for place, vector in vectors.items()})

    @torch.inference_mode()
    def conditions(self, features: Tensor) -> Tensor:
        """(B, T, C) conditions from the states (B, n, H) that predicted the vokens."""
        return self.mapper(features.to(self.mapper.queries.device))

    @torch.inference_mode()
    def draw(
        self, features: Tensor, seeds: Sequence[int], *, guidance: float = 7.5, steps: int = 50, sampler: Sampler = Sampler.pndm
    ) -> list[Image]:
        """Draw images, sampled together, from the states (B, n, H) that predicted their vokens.

        Args:
            features: The states.
            seeds: The seed of each image's noise.
            guidance: Weight of classifier-free guidance, at least 1; 1: none.
            steps: Number of steps.
            sampler: The sampler.
        """
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        options: dict[str, Any] = {"guidance": guidance, "steps": steps, "sampler": sampler}
        return to_images(self.drawing.draw(self.conditions(features), self.mapper.unconditional(), generators, **options))


def spread_slots(ids: Sequence[int], slot: int, images: Sequence[Tensor]) -> tuple[list[int], dict[int, Tensor]]:
    """Token ids with each slot widened to one position per vector of its image, and the vectors by position.

    Raises:
        MagicError: There are more or fewer images than slots.

    >>> spread_slots([5, 9, 6], 9, [["a", "b"]])
    ([5, 9, 9, 6], {1: 'a', 2: 'b'})
    """
    if (slots := list(ids).count(slot)) != len(images):
        raise MagicError(
            f"a prompt has {slots} places for images ({IMAGE_SLOT}) and {len(images)} images; give each image its place"
        )
    spread: list[int] = []
    vectors: dict[int, Tensor] = {}
    remaining = iter(images)
    for i in ids:
        if i != slot:
            spread.append(i)
            continue
        for vector in next(remaining):
            vectors[len(spread)] = vector
            spread.append(slot)
    return spread, vectors
