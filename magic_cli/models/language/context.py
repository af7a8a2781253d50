"""The context of a causal LM -- the keys and values of its layers -- as plain tensors that can be shifted and differentiated.

    context = read_context(network, ids[:, :-1])               # [key, value, key, value, ...]
    shifted = [tensor + delta for tensor, delta in zip(context, deltas)]
    logits = logits_on_context(network, ids[:, -1], shifted)   # gradients flow back to the deltas

Works with every Hugging Face causal LM whose cache holds keys and values for each layer. Shapes: B rows, T tokens.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from magic_cli.errors import MagicError
from magic_cli.models.language.network import Network
from magic_cli.models.language.positions import usable_positions


def read_context(network: Network, ids: Tensor) -> list[Tensor]:
    """Keys and values (B, heads, T, D) of every layer after reading ``ids`` (B, T).

    Raises:
        MagicError: The model keeps something else, or has no position left for the token that follows.
    """
    limit = usable_positions(network.model)
    if limit is not None and ids.shape[1] >= limit:
        raise MagicError(f"decoding.decoding_len: the text outgrows the language model's {limit} positions; lower it")
    _, cache = network.hidden(ids.to(network.device), cache=_new_cache(), use_cache=True)
    found = [tensor for layer in getattr(cache, "layers", ()) for tensor in _keys_and_values(layer)]
    context = [tensor for tensor in found if tensor is not None and tensor.dim() == 4 and tensor.shape[2] == ids.shape[1]]
    if not context or len(context) < len(found):
        raise MagicError(
            f"language_model: {_name(network)} keeps no keys and values of all {ids.shape[1]} tokens for each layer, which "
            "decoding=zerocap shifts; use a plain transformer such as GPT-2, or another decoding"
        )
    return context


def logits_on_context(network: Network, last: Tensor, context: list[Tensor]) -> Tensor:
    """Scores (B, V) of what follows ``last`` (B,) on a context; differentiable with respect to the context."""
    cache = _new_cache()
    for number, (keys, values) in enumerate(zip(context[::2], context[1::2], strict=True)):
        cache.update(keys, values, number)
    last = last[:, None].to(network.device, copy=True)  # of inference mode it could take no part in a gradient
    positions = torch.full_like(last, context[0].shape[2])
    return network.own_logits(last, positions=positions, cache=cache, use_cache=True)


def _new_cache() -> Any:
    from transformers import DynamicCache

    return DynamicCache()


def _keys_and_values(layer: Any) -> tuple[Tensor | None, Tensor | None]:
    return getattr(layer, "keys", None), getattr(layer, "values", None)


def _name(network: Network) -> str:
    """The model as a user knows it."""
    return network.model.config.name_or_path or type(network.model).__name__
