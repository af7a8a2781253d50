"""Turns images into vectors of a prompt: vision encoder, Q-Former and projection, as in BLIP-2 and InstructBLIP."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from magic_cli.errors import MagicError
from magic_cli.interleaved.folders import read_weights, require_fit

if TYPE_CHECKING:
    from PIL.Image import Image

MEAN, SPREAD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Means and deviations of CLIP's training images: red, green and blue, in [0, 1]."""


class QFormerReader(nn.Module):
    """Reads images: (N, 3, S, S) pixels -> (N, q, D) vectors of a prompt.

    Args:
        config: A ``Blip2Config`` or ``InstructBlipConfig``.
        hidden_size: D, the width of the language model.
    """

    def __init__(self, config: Any, hidden_size: int) -> None:
        super().__init__()
        from transformers import Blip2QFormerModel, Blip2VisionModel, InstructBlipQFormerModel, InstructBlipVisionModel

        kinds = {
            "blip-2": (Blip2VisionModel, Blip2QFormerModel),
            "instructblip": (InstructBlipVisionModel, InstructBlipQFormerModel),
        }
        vision_class, former_class = kinds[config.model_type]
        self.config = config
        self.vision_model = vision_class(config.vision_config)
        self.qformer = former_class(config.qformer_config)
        self.query_tokens = nn.Parameter(torch.zeros(1, config.num_query_tokens, config.qformer_config.hidden_size))
        self.language_projection = nn.Linear(config.qformer_config.hidden_size, hidden_size)
        self._no_text = {} if config.model_type == "blip-2" else {"input_ids": None}

    @classmethod
    def load(
        cls, folder: Path, hidden_size: int, *, projection: Path | None = None, dtype: torch.dtype = torch.float32
    ) -> QFormerReader:
        """Read the weights from a folder. A language model in the same folder is ignored.

        Args:
            folder: A folder with config.json and safetensors.
            hidden_size: D, the width of the language model.
            projection: File with ``weight`` and ``bias`` of a projection that replaces the folder's.
            dtype: Number type of the vision encoder; Q-Former and projection stay in float32, in which they were trained.

        Raises:
            MagicError: The folder holds another kind of model, or weights are missing, of another shape, or not finite.
        """
        from transformers import AutoConfig

        config = AutoConfig.from_pretrained(folder)
        if config.model_type not in ("blip-2", "instructblip"):
            raise MagicError(f"its config.json says model_type {config.model_type!r}; name a BLIP-2 or InstructBLIP folder")
        reader = cls(config, hidden_size)
        parts = (*(f"{name}." for name, _ in reader.named_children()), "query_tokens")
        weights = {name: weight.float() for name, weight in read_weights(folder, parts).items()}
        if projection is not None:
            weights |= {f"language_projection.{name}": weight.float() for name, weight in read_weights(projection).items()}
        require_fit(reader, weights)
        reader.vision_model.to(dtype)
        return reader.eval().requires_grad_(False)

    @property
    def side(self) -> int:
        """Pixels per side of an image (S)."""
        return self.config.vision_config.image_size

    @property
    def num_vectors(self) -> int:
        """Vectors per image (q)."""
        return self.query_tokens.shape[1]

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, 3, S, S) normalised pixels -> (N, q, D)."""
        seen = self.vision_model(pixel_values=pixels.to(self.vision_model.dtype)).last_hidden_state
        queries = self.query_tokens.expand(len(pixels), -1, -1)
        mask = torch.ones(seen.shape[:2], dtype=torch.long, device=seen.device)
        asked = self.qformer(
            query_embeds=queries, encoder_hidden_states=seen.to(queries.dtype), encoder_attention_mask=mask, **self._no_text
        )
        return self.language_projection(asked.last_hidden_state[:, : self.num_vectors])

    def prepare(self, image: Image) -> np.ndarray:
        """(3, S, S) float32 pixels of an RGB image: short side scaled to S (bilinear), centre cut out, normalised as in CLIP."""
        return prepare_pixels(image, self.side)

    def read(self, images: Sequence[np.ndarray]) -> Tensor:
        """(N, q, D) vectors of prepared images."""
        return self(torch.from_numpy(np.stack(images)).to(self.query_tokens.device))


def prepare_pixels(image: Image, side: int) -> np.ndarray:
    """See ``QFormerReader.prepare``."""
    from PIL import Image as images

    width, height = image.size
    short = min(width, height)
    if short != side:
        size = (side, int(side * height / width)) if width <= height else (int(side * width / height), side)
        image = image.resize(size, images.Resampling.BILINEAR)
    left, top = round((image.width - side) / 2), round((image.height - side) / 2)
    pixels = np.asarray(image.crop((left, top, left + side, top + side)), dtype=np.float32) / 255  # (S, S, 3)
    mean, spread = np.asarray(MEAN, np.float32), np.asarray(SPREAD, np.float32)
    return ((pixels - mean) / spread).transpose(2, 0, 1)
