"""The diffusion model's own text encoder. Draws from texts; in stage one of training it is the target of the mapper."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from magic_cli.errors import MagicError
from magic_cli.models.faults import refuse
from magic_cli.models.weights import read_pretrained


class TextConditions(nn.Module):
    """Turns texts into (B, T, C) conditions, padded or cut to T tokens.

    Args:
        encoder: A ``CLIPTextModel``.
        tokenizer: Its tokenizer.
    """

    def __init__(self, encoder: Any, tokenizer: Any) -> None:
        super().__init__()
        self.encoder, self.tokenizer = encoder, tokenizer

    @classmethod
    def load(cls, folder: Path, dtype: torch.dtype, *, otherwise: str) -> TextConditions:
        """Read the encoder from a Stable Diffusion folder of diffusers.

        Args:
            folder: A folder with ``text_encoder`` and ``tokenizer``.
            dtype: Number type of the encoder.
            otherwise: The remedy if they are missing, for the error message.

        Raises:
            MagicError: The folder has no text encoder, or weights are missing.
        """
        from transformers import AutoTokenizer, CLIPTextModel

        for name in ("text_encoder", "tokenizer"):
            if not (folder / name).is_dir():
                raise MagicError(f"has no {name}; name a complete Stable Diffusion folder, or {otherwise}")
        encoder, _, faults = read_pretrained(
            CLIPTextModel, {"pretrained_model_name_or_path": folder / "text_encoder"}, dtype=dtype, use_safetensors=True
        )
        refuse(faults)
        return cls(encoder.eval().requires_grad_(False), AutoTokenizer.from_pretrained(folder / "tokenizer"))

    @property
    def length(self) -> int:
        """T, the number of condition vectors."""
        return self.encoder.config.max_position_embeddings

    def forward(self, texts: Sequence[str], *, mask_padding: bool = True) -> Tensor:
        """(B, T, C) last hidden states.

        Args:
            texts: B texts.
            mask_padding: Hide padding from attention, as the released training code does.
        """
        tokens = self.tokenizer(list(texts), return_tensors="pt", padding="max_length", truncation=True, max_length=self.length)
        device = self.encoder.device
        mask = {"attention_mask": tokens.attention_mask.to(device)} if mask_padding else {}
        return self.encoder(input_ids=tokens.input_ids.to(device), **mask).last_hidden_state

    def as_drawn(self, texts: Sequence[str]) -> Tensor:
        """As ``forward``, but padding is hidden only if the encoder's config says so: this is what diffusers' pipeline does."""
        return self(texts, mask_padding=getattr(self.encoder.config, "use_attention_mask", False))
