"""A GPT-2 of a larger shape that computes exactly what a smaller one does, at the cost of the larger one."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

_UNUSED_LOGIT = -1e4
"""The logit of tokens that the small vocabulary lacks: its exp() is 0 in every float type."""


@torch.no_grad()
def widen(small: GPT2LMHeadModel, config: GPT2Config) -> GPT2LMHeadModel:
    """Rebuild ``small`` in the shape of ``config``, with the same logits and the same cosines of hidden states, up to rounding.

    - Every feature is copied R times, which keeps mean and variance of the layer norms. Weights that read features sum over the
      copies, so they are divided by R; weights that write features write all copies.
    - Each small head fills the first dimensions of a wider one; queries are scaled to compensate for the larger head.
    - Added layers have random weights but zero output projections: they cost arithmetic and change nothing.
    - The normalised state sums to zero over its features, so a row ``c / gain`` of the tied head gives the constant logit
      ``c * sum(bias / gain)``. Added tokens get such a row, with a logit so low that they are never candidates.

    Args:
        small: GPT-2 with tied embeddings.
        config: Width a multiple of the small one's; heads, head width, layers, positions and vocabulary at least as many.

    Raises:
        ValueError: ``config`` is too small, or its width is not a multiple.
    """
    _check(small.config, config)
    wide = GPT2LMHeadModel(config).eval()  # weights that are not overwritten stay random
    source, target = small.transformer, wide.transformer
    copies = config.n_embd // small.config.n_embd
    target.wte.weight[: small.config.vocab_size] = source.wte.weight.repeat(1, copies)
    target.wpe.weight[: small.config.n_positions] = source.wpe.weight.repeat(1, copies)
    for old, new in zip(source.h, target.h, strict=False):
        _widen_attention(old.attn, new.attn, small.config, config)
        _widen_mlp(old.mlp, new.mlp, copies)
        for name in ("ln_1", "ln_2"):
            _widen_norm(getattr(old, name), getattr(new, name), copies)
    for added in target.h[len(source.h) :]:
        for writer in (added.attn.c_proj, added.mlp.c_proj):
            writer.weight.zero_()
            writer.bias.zero_()
    _widen_norm(source.ln_f, target.ln_f, copies, divide=True)
    target.wte.weight[small.config.vocab_size :] = _never(target.ln_f)
    return wide


@torch.no_grad()
def forbid(network: GPT2LMHeadModel, token: int) -> None:
    """Change ``network`` so that it never writes ``token``. It still reads it as before; its head is no longer tied."""
    network.config.tie_word_embeddings = False
    network.lm_head.weight = torch.nn.Parameter(network.lm_head.weight.clone(), requires_grad=False)
    network.lm_head.weight[token] = _never(network.transformer.ln_f)


def _never(norm: torch.nn.LayerNorm) -> Tensor:
    """(H,) a row for the head after ``norm`` that gives every hidden state the same very low logit."""
    return _UNUSED_LOGIT / (norm.bias / norm.weight).sum() / norm.weight


def _check(small: GPT2Config, wide: GPT2Config) -> None:
    if wide.n_embd % small.n_embd:
        raise ValueError(f"width {wide.n_embd} is no multiple of {small.n_embd}")
    for name in ("n_head", "head_dim", "n_layer", "n_positions", "vocab_size"):
        old, new = (config.n_embd // config.n_head if name == "head_dim" else getattr(config, name) for config in (small, wide))
        if new < old:
            raise ValueError(f"{name} must be at least {old}, got {new}")


def _widen_attention(old, new, small: GPT2Config, wide: GPT2Config) -> None:
    copies, places = wide.n_embd // small.n_embd, _head_places(small, wide)
    scaling = math.sqrt((wide.n_embd / wide.n_head) / (small.n_embd / small.n_head))
    new.c_attn.weight.zero_()
    new.c_attn.bias.zero_()
    for part in range(3):  # query, key, value: (H, H) each, side by side
        of_old = slice(part * small.n_embd, (part + 1) * small.n_embd)
        of_new = part * wide.n_embd + places
        factor = scaling if part == 0 else 1.0
        new.c_attn.weight[:, of_new] = factor * _reading(old.c_attn.weight[:, of_old], copies)
        new.c_attn.bias[of_new] = factor * old.c_attn.bias[of_old]
    new.c_proj.weight.zero_()
    new.c_proj.weight[places] = old.c_proj.weight.repeat(1, copies)
    new.c_proj.bias.copy_(old.c_proj.bias.repeat(copies))


def _widen_mlp(old, new, copies: int) -> None:
    inner = old.c_fc.weight.shape[1]
    for weight in (new.c_fc.weight, new.c_fc.bias, new.c_proj.weight):
        weight.zero_()
    new.c_fc.weight[:, :inner] = _reading(old.c_fc.weight, copies)
    new.c_fc.bias[:inner] = old.c_fc.bias
    new.c_proj.weight[:inner] = old.c_proj.weight.repeat(1, copies)
    new.c_proj.bias.copy_(old.c_proj.bias.repeat(copies))


def _widen_norm(old, new, copies: int, *, divide: bool = False) -> None:
    number = copies if divide else 1
    new.weight.copy_(old.weight.repeat(copies) / number)
    new.bias.copy_(old.bias.repeat(copies) / number)


def _reading(weight: Tensor, copies: int) -> Tensor:
    """(H, O) -> (copies * H, O): weights that read the sum of the copies."""
    return weight.repeat(copies, 1) / copies


def _head_places(small: GPT2Config, wide: GPT2Config) -> Tensor:
    """(small width,) the positions of each small head's features among the wide ones."""
    old, new = small.n_embd // small.n_head, wide.n_embd // wide.n_head
    return (torch.arange(small.n_head)[:, None] * new + torch.arange(old)).flatten()
