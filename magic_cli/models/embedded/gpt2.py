"""GPT-2 as the shipped language model needs it: what transformers' computes, from the same files, after a shorter import.

Shapes: B rows, Q new tokens, T tokens before them, H width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from magic_cli.models.embedded.own_networks import OwnNetwork
from magic_cli.models.fast.lean_gpt2 import LeanGPT2

_LIES_OTHERWISE = (".c_attn.weight", ".c_proj.weight", ".c_fc.weight")
"""Weights that GPT-2's files hold as (in, out)."""


class Attention(nn.Module):
    """What ``LeanGPT2`` attends with."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        width = config.n_embd
        self.num_heads, self.head_dim = config.n_head, width // config.n_head
        self.scaling = self.head_dim**-0.5
        self.c_attn, self.c_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)


class FeedForward(nn.Module):
    """(..., H) to four times that and back."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        width, inner = config.n_embd, config.n_inner or 4 * config.n_embd
        self.c_fc, self.act, self.c_proj = nn.Linear(width, inner), nn.GELU(approximate="tanh"), nn.Linear(inner, width)


class Layer(nn.Module):
    """One of GPT-2's layers; ``LeanGPT2`` runs it."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.attn = Attention(config)
        self.ln_2 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.mlp = FeedForward(config)


class GPT2Body(nn.Module):
    """Token ids or vectors to hidden states."""

    is_lean_gpt2: ClassVar[bool] = True

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.wte, self.wpe = nn.Embedding(config.vocab_size, config.n_embd), nn.Embedding(config.n_positions, config.n_embd)
        self.h = nn.ModuleList(Layer(config) for _ in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)

    def forward(
        self,
        input_ids: Tensor | None = None,
        *,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool = True,
    ) -> SimpleNamespace:
        """As transformers': ``last_hidden_state`` (B, Q, H) and ``past_key_values``.

        Args:
            input_ids: (B, Q).
            attention_mask: (B, T + Q), 0 on padding; or (B, 1, Q, T + Q), additive.
            position_ids: (B, Q); None: the places behind the cache.
            past_key_values: ``DynamicCache`` of the T tokens before, which takes up these.
            inputs_embeds: (B, Q, H) instead of the ids.
            use_cache: Whether a cache is wanted where none is given.
        """
        from transformers import DynamicCache

        x = self.wte(input_ids) if inputs_embeds is None else inputs_embeds
        cache = DynamicCache() if past_key_values is None else past_key_values
        before, new = cache.get_seq_length(), x.shape[1]
        if position_ids is None:
            position_ids = torch.arange(before, before + new, device=x.device)[None]
        mask = attention_mask
        if mask is None or mask.dim() == 2:
            mask = _causal(x, before, mask)
        states = LeanGPT2(self).states(x + self.wpe(position_ids), mask, cache)
        return SimpleNamespace(
            last_hidden_state=states, past_key_values=cache if use_cache or past_key_values is not None else None
        )


def _causal(x: Tensor, before: int, real: Tensor | None) -> Tensor:
    """Additive mask (B or 1, 1, Q, T + Q) of tokens (B, Q, H) behind ``before`` others, of which ``real`` (B, T + Q) says what is no padding."""
    new = x.shape[1]
    seen = torch.ones(new, before + new, dtype=torch.bool, device=x.device).tril(before)[None, None]
    if real is not None:
        # padding sees itself: where a whole row is masked, float16 overflows to NaN, which would reach the real tokens
        itself = torch.eye(before + new, dtype=torch.bool, device=x.device)[before:][None, None]
        seen = seen & real.bool()[:, None, None] | itself
    return torch.zeros(seen.shape, dtype=x.dtype, device=x.device).masked_fill_(~seen, torch.finfo(x.dtype).min)


class GPT2(OwnNetwork):
    """A language model of GPT-2's architecture whose head is its token embedding."""

    base_model_prefix: ClassVar[str] = "transformer"
    tied: ClassVar[frozenset[str]] = frozenset({"lm_head.weight"})

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.transformer = GPT2Body(config)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.generation_config: Any = None

    @classmethod
    def read_config(cls, folder: Path) -> Any:
        from transformers import GPT2Config

        return GPT2Config.from_pretrained(folder)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Path | None, **options: Any) -> tuple[Self, dict[str, Any]]:
        from transformers import GenerationConfig

        network, loading = super().from_pretrained(pretrained_model_name_or_path, **options)
        if pretrained_model_name_or_path is not None:
            network.generation_config = GenerationConfig.from_pretrained(pretrained_model_name_or_path)
        return network, loading

    def adapt(self, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: tensor.t().contiguous() if name.endswith(_LIES_OTHERWISE) else tensor for name, tensor in stored.items()}

    def tie(self) -> None:
        self.lm_head.weight = self.transformer.wte.weight

    @property
    def base_model(self) -> GPT2Body:
        return self.transformer

    def get_input_embeddings(self) -> nn.Embedding:
        return self.transformer.wte

    def get_output_embeddings(self) -> nn.Linear:
        return self.lm_head

    def forward(self, input_ids: Tensor | None = None, **options: Any) -> SimpleNamespace:
        """As ``GPT2Body``, with ``logits`` (B, Q, V) beside ``past_key_values``."""
        out = self.transformer(input_ids, **options)
        return SimpleNamespace(logits=self.lm_head(out.last_hidden_state), past_key_values=out.past_key_values)
