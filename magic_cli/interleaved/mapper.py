"""Maps voken states to the conditions of a diffusion model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from magic_cli.errors import SettingsError
from magic_cli.interleaved.settings import MapperSettings


class VokenMapper(nn.Module):
    """A transformer that maps (B, n, D) voken states to (B, T, C) conditions, which replace those of a text encoder.

    The states pass two linear layers into the encoder; learnt queries enter the decoder. There are no masks and no positions.

    Args:
        hidden_size: D, the width of the language model.
        width: C, the width of the diffusion model's conditions.
        num_vokens: n, the number of vokens.
        settings: The shape.

    Raises:
        SettingsError: The number of heads does not divide C.
    """

    def __init__(self, hidden_size: int, width: int, num_vokens: int, settings: MapperSettings) -> None:
        super().__init__()
        if width % settings.heads:
            raise SettingsError(
                f"interleaved_model.mapper.heads must divide the width of the conditions {width}, got {settings.heads}"
            )
        self.hidden_size, self.num_vokens, self.settings = hidden_size, num_vokens, settings
        self.fc = nn.Sequential(nn.Linear(hidden_size, width), nn.GELU(), nn.Linear(width, width))
        self.queries = nn.Parameter(torch.randn(1, settings.queries, width))
        options: dict[str, Any] = {
            "nhead": settings.heads,
            "dim_feedforward": settings.feed_forward * width,
            "dropout": 0.0,
            "batch_first": True,
            "norm_first": True,
        }
        layer = nn.TransformerEncoderLayer(width, **options)
        # made separately: nn.Transformer's own encoder warns about an optimisation that pre-norm layers do not support
        encoder = nn.TransformerEncoder(layer, settings.layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.transformer = nn.Transformer(width, num_decoder_layers=settings.layers, custom_encoder=encoder, **options)
        for weight in encoder.parameters():  # as in nn.Transformer; else all layers would start as copies of one
            if weight.dim() > 1:
                nn.init.xavier_uniform_(weight)

    def forward(self, features: Tensor) -> Tensor:
        """(B, n, D) -> (B, T, C), in float32."""
        queries = self.queries.expand(len(features), -1, -1)
        return self.transformer(self.fc(features.to(self.queries.dtype)), queries)

    def unconditional(self) -> Tensor:
        """(1, T, C): the conditions without an image, from states of zeros, for classifier-free guidance."""
        return self(self.queries.new_zeros(1, self.num_vokens, self.hidden_size))
