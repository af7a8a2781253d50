"""A transformer block as GPT-2 and CLIP's text tower have it: a norm before attention, and one before the feed-forward half."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from magic_cli.models.fast.lean_modules import Chain, added, packed


@dataclass
class Block:
    """The parts of one block, whatever the library calls them; all but one map (..., D) to (..., D).

    They are run by ``forward``, not by a call: what ``nn.Module`` does around a call takes a fifth of a small product's time. Hooks are
    not run.
    """

    norm1: nn.Module
    query_key_value: nn.Module
    """(..., D) to (..., 3 D): queries, keys, values; one product is quicker than three smaller ones."""
    out: nn.Module
    norm2: nn.Module
    mlp: nn.Module

    def __post_init__(self) -> None:
        self._norm1, self._norm2 = _lean(self.norm1), _lean(self.norm2)

    def packed(self) -> Block:
        """The same with packed weights, and little around each product."""
        parts = {"query_key_value": self.query_key_value, "out": self.out, "mlp": self.mlp}
        return replace(self, **{name: Chain(packed(part)) for name, part in parts.items()})

    def ask(self, x: Tensor) -> Tensor:
        """Queries, keys and values (N, 3 D) of tokens (N, D)."""
        return self.query_key_value.forward(self._norm1(x))

    def go_on(self, x: Tensor, attended: Tensor) -> Tensor:
        """The block's output (N, D) for tokens (N, D) and what attention gave them (N, D)."""
        x = added(x, self.out, attended)
        return added(x, self.mlp, self._norm2(x))


def _lean(norm: nn.Module) -> Callable[[Tensor], Tensor]:
    """The same without the two Python functions that ``nn.LayerNorm`` runs around its one operation."""
    if type(norm) is not nn.LayerNorm:
        return norm.forward
    return partial(torch.layer_norm, normalized_shape=norm.normalized_shape, weight=norm.weight, bias=norm.bias, eps=norm.eps)
