"""Attention of few queries on few keys. Torch's fused kernel is made for long texts: on the CPU two plain products are quicker here.

Shapes: G groups, heads, A queries, S keys, d numbers of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor

_MOST_SCORES = 48 * 48
"""Queries times keys of a group. With 5 queries on 300 keys both ways are equally fast; 12 heads of 8 groups of 5 queries on 45 keys take 3/4 of
the time, 8 heads of 32 groups of 24 on 30 keys 2/3, 12 heads of 32 groups of 64 on 64 a fifth more."""


def for_all_heads(mask: Tensor, num_heads: int, num_groups: int) -> Tensor:
    """A mask (G or 1, 1, A, S) for ``attend``: where products take it, it is repeated for each head here, once for all layers."""
    return mask.expand(num_groups, num_heads, -1, -1).contiguous() if _by_products(mask, *mask.shape[2:]) else mask


def _by_products(one: Tensor, num_queries: int, num_keys: int) -> bool:
    """Whether products are quicker than torch's kernel; ``one`` of the tensors tells where and in which numbers."""
    if one.device.type != "cpu" or one.dtype != torch.float32 or torch.is_grad_enabled():  # with gradients the kernel is quicker
        return False
    return num_queries * num_keys <= _MOST_SCORES


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float | None = None) -> Tensor:
    """``scaled_dot_product_attention``.

    Args:
        query: (G, heads, A, d).
        key: (G, heads, S, d).
        value: (G, heads, S, d).
        mask: (G, 1, A, S) or what can be expanded to it, additive.
        scale: Factor on the products of queries and keys; None: 1 / sqrt(d).

    Returns:
        (G, heads, A, d).
    """
    num_groups, num_heads, num_queries, width = query.shape
    num_keys = key.shape[2]
    if not _by_products(query, num_queries, num_keys):
        return torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)
    num = num_groups * num_heads
    if mask.shape[:2] != (num_groups, num_heads):
        mask = mask.expand(num_groups, num_heads, -1, -1)
    query, keys = query.reshape(num, num_queries, width), key.reshape(num, num_keys, width).transpose(1, 2)
    scores = torch.baddbmm(mask.reshape(num, num_queries, num_keys), query, keys, alpha=width**-0.5 if scale is None else scale)
    return torch.bmm(scores.softmax(dim=-1), value.reshape(num, num_keys, width)).view(num_groups, num_heads, num_queries, width)
