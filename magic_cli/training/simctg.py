"""SimCTG's training objective: maximum likelihood plus a contrastive term that pushes the tokens of a text apart.

Su et al. 2022, *A Contrastive Framework for Neural Text Generation* (arXiv 2202.06417), equations 1 to 3. Every function
returns a sum, so that the mean over several micro-batches is exact: sums are divided once, by the counts of the whole batch.
"""

from __future__ import annotations

import torch
from torch import Tensor

IGNORED = -100
"""The label of padding."""


def token_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Sum of the cross-entropy of real tokens in nats; a scalar, always computed in float32.

    Args:
        logits: Next-token scores, (N, V).
        labels: The next tokens, (N,).
    """
    return torch.nn.functional.cross_entropy(logits.float(), labels, ignore_index=IGNORED, reduction="sum")


def contrastive_loss(hidden: Tensor, lengths: Tensor, *, margin: float, per_sequence: bool = False) -> Tensor:
    """Sum over sequences of max(0, margin - s(h_i, h_i) + s(h_i, h_j)) over their token pairs i != j, a scalar (eq. 2).

    Args:
        hidden: Last-layer hidden states of right-padded sequences, (B, T, H).
        lengths: Real tokens of each sequence, (B,).
        margin: rho, in [-1, 1]; pairs whose cosine is below 1 - rho cost nothing.
        per_sequence: Divide each sequence's sum by its number of pairs, as in the paper; otherwise all pairs have the same
            weight, as in the released code. The caller divides by ``count_units``.
    """
    unit = _unit_vectors(hidden)
    with torch.autocast(hidden.device.type, enabled=False):  # else products would be rounded to 8 bits
        cosine = unit @ unit.transpose(1, 2)  # (B, T, H) -> (B, T, T)
        excess = (cosine + (margin - 1)).clamp_min(0)  # s(h_i, h_i) = 1
        is_real = (torch.arange(hidden.shape[1], device=hidden.device) < lengths[:, None]).to(excess.dtype)  # (B, T)
        of_rows = torch.einsum("bij,bj->bi", excess, is_real) - excess.diagonal(dim1=1, dim2=2)  # (B, T): j real, j != i
    of_sequences = (of_rows * is_real).sum(1)  # (B,)
    if per_sequence:
        of_sequences = of_sequences / num_pairs(lengths).clamp_min(1)
    return of_sequences.sum()


def _unit_vectors(hidden: Tensor) -> Tensor:
    """Hidden states (B, T, H) of length 1, in float32 at least."""
    return torch.nn.functional.normalize(hidden.to(torch.promote_types(hidden.dtype, torch.float32)), dim=-1)


def num_pairs(lengths: Tensor) -> Tensor:
    """The number of ordered pairs of different tokens in each sequence, (B,) -> (B,)."""
    return lengths * (lengths - 1)


def count_units(lengths: Tensor, *, per_sequence: bool) -> int:
    """The divisor of the contrastive sum: pairs of all sequences, or the number of sequences that have a pair.

    >>> count_units(torch.tensor([1, 2, 4]), per_sequence=False), count_units(torch.tensor([1, 2, 4]), per_sequence=True)
    (14, 2)
    """
    pairs = num_pairs(lengths)
    return int((pairs > 0).sum() if per_sequence else pairs.sum())


def token_similarity(hidden: Tensor, lengths: Tensor) -> Tensor:
    """Mean cosine of different tokens of each sequence, (B,), in [-1, 1]; 0 for a single token. Lower is more isotropic."""
    unit = _unit_vectors(hidden)
    is_real = (torch.arange(hidden.shape[1], device=hidden.device) < lengths[:, None])[..., None]
    unit = unit * is_real
    total = unit.sum(1).square().sum(-1)  # |sum of unit vectors|^2 = all pairs, including i = j; (B, T, H) -> (B,)
    return (total - lengths) / num_pairs(lengths).clamp_min(1)
