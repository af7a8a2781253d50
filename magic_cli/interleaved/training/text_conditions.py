"""The diffusion model's own text encoder, towards which stage one pulls the mapper."""

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
    """Captions as (B, T, C) conditions, padded to T tokens, padding left out of attention.

    Args:
        encoder: A ``CLIPTextModel``.
        tokenizer: Its tokenizer.
        length: T.
    """

    def __init__(self, encoder: Any, tokenizer: Any, length: int) -> None:
        super().__init__()
        self.encoder, self.tokenizer, self.length = encoder, tokenizer, length

    @classmethod
    def load(cls, folder: Path, length: int, dtype: torch.dtype) -> TextConditions:
        """Read from a Stable Diffusion folder of diffusers.

        Raises:
            MagicError: The folder has no text encoder, or it reads fewer tokens.
        """
        from transformers import AutoTokenizer, CLIPTextModel

        for name in ("text_encoder", "tokenizer"):
            if not (folder / name).is_dir():
                raise MagicError(
                    f"has no {name}, which the caption loss needs; name a complete Stable Diffusion folder, or set objective.caption_weight=0"
                )
        encoder, _, faults = read_pretrained(
            CLIPTextModel, {"pretrained_model_name_or_path": folder / "text_encoder"}, dtype=dtype, use_safetensors=True
        )
        refuse(faults)
        positions = encoder.config.max_position_embeddings
        if positions != length:
            raise MagicError(
                f"its text encoder gives {positions} vectors, the mapper {length}; set interleaved_model.mapper.queries={positions}"
            )
        return cls(encoder.eval().requires_grad_(False), AutoTokenizer.from_pretrained(folder / "tokenizer"), length)

    def forward(self, captions: Sequence[str]) -> Tensor:
        """(B, T, C) last hidden states."""
        tokens = self.tokenizer(
            list(captions), return_tensors="pt", padding="max_length", truncation=True, max_length=self.length
        )
        device = self.encoder.device
        return self.encoder(
            input_ids=tokens.input_ids.to(device), attention_mask=tokens.attention_mask.to(device)
        ).last_hidden_state
