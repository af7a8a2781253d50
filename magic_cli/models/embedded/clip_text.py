"""CLIP's text tower as the shipped matcher needs it: what transformers' computes, from the same files, after a shorter import.

Shapes: N texts, T tokens, H width, E embedding.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from magic_cli.models.embedded.own_networks import OwnNetwork
from magic_cli.models.fast.lean_modules import QuickGelu

_ACTIVATIONS = {"gelu": nn.GELU, "quick_gelu": QuickGelu}
"""By the name that a config has for it."""


class Attention(nn.Module):
    """Causal attention, (N, T, H) to (N, T, H)."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        width = config.hidden_size
        self.num_heads = config.num_attention_heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (
            part(x).unflatten(2, (self.num_heads, -1)).transpose(1, 2) for part in (self.q_proj, self.k_proj, self.v_proj)
        )
        attended = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.out_proj(attended.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """(..., H) to a larger width and back."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.fc1, self.activation_fn = nn.Linear(config.hidden_size, config.intermediate_size), _ACTIVATIONS[config.hidden_act]()
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.activation_fn(self.fc1(x)))


class Layer(nn.Module):
    """One layer, (N, T, H) to (N, T, H)."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.self_attn, self.mlp = Attention(config), FeedForward(config)
        self.layer_norm1, self.layer_norm2 = (nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class Embeddings(nn.Module):
    """Token ids (N, T) to embeddings of tokens and places (N, T, H)."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embedding = nn.Embedding(config.max_position_embeddings, config.hidden_size)

    def forward(self, ids: Tensor) -> Tensor:
        return self.token_embedding(ids) + self.position_embedding.weight[: ids.shape[1]]


class Encoder(nn.Module):
    """All layers, (N, T, H) to (N, T, H)."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class TextModel(nn.Module):
    """Token ids (N, T) to normalised states (N, T, H)."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.embeddings, self.encoder = Embeddings(config), Encoder(config)
        self.final_layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, ids: Tensor) -> Tensor:
        return self.final_layer_norm(self.encoder(self.embeddings(ids)))


class ClipText(OwnNetwork):
    """A text tower with its projection; it pools at the first end token."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.text_model = TextModel(config)
        self.text_projection = nn.Linear(config.hidden_size, config.projection_dim, bias=False)

    @classmethod
    def read_config(cls, folder: Path) -> Any:
        from transformers import CLIPTextConfig

        return CLIPTextConfig.from_pretrained(folder)

    def save_pretrained(self, folder: Path) -> None:
        """Write ``config.json`` and ``model.safetensors``, from which transformers reads a ``CLIPTextModelWithProjection``, too."""
        self.config.dtype = self.dtype
        self.config.save_pretrained(folder)
        weights = {name: tensor.contiguous() for name, tensor in self.state_dict().items()}
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    def get_input_embeddings(self) -> nn.Embedding:
        return self.text_model.embeddings.token_embedding

    def forward(self, input_ids: Tensor) -> SimpleNamespace:
        """``text_embeds`` (N, E) of token ids (N, T), not normalised."""
        ends = (input_ids == self.config.eos_token_id).int().argmax(dim=1)
        states = self.text_model(input_ids)[torch.arange(len(input_ids), device=input_ids.device), ends]
        return SimpleNamespace(text_embeds=self.text_projection(states))
