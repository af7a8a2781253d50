"""Skips candidates that can no longer win: the same tokens with less work."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_BOUND_SLACK = 1e-5
"""Far above the rounding of a score, which is of order 1."""


def can_win(known: Tensor, forbidden: Tensor | None, *, alpha: float, lazy: bool = True) -> Tensor:
    """Which candidates can still have the best score, whatever their penalties will be.

    A penalty is a cosine, in [-1, 1]. So a candidate reaches at most ``known + alpha``, and the best one at least the largest
    ``known - alpha``. This is exact for any sum of guides; a margin allows for rounding.

    Args:
        known: (R, K) ``(1 - alpha) p + sum of beta_i f_i``.
        forbidden: (R, K) bool: cannot win in any case; None: none is.
        alpha: Weight of the penalty.
        lazy: False: every candidate that is not forbidden counts as able to win.

    Returns:
        (R, K) bool, at least one of a row true; all where a score is NaN.
    """
    if not lazy:
        possible = torch.ones_like(known, dtype=torch.bool)
        return possible if forbidden is None else possible & ~forbidden
    if forbidden is not None:
        known = known.masked_fill(forbidden, -torch.inf)
    possible = ~(known + alpha < known.amax(dim=-1, keepdim=True) - alpha - _BOUND_SLACK)
    return possible if forbidden is None else possible & ~forbidden


def sole(possible: Tensor) -> Tensor:
    """(R, K) bool: the only candidate of a row that can win; the language model need not compute it."""
    return possible & (possible.sum(dim=1, keepdim=True) == 1)


def wanted(ids: Tensor, possible: Tensor, is_last: Callable[[int, int], bool] | None) -> Tensor:
    """(R, K) bool: candidates whose hidden states are needed, for their penalty or because the text continues from them.

    Args:
        ids: (R, K) the candidates.
        possible: (R, K) bool: those that can win.
        is_last: ``is_last(row, token)``: whether no token follows this one; None: a token may always follow.
    """
    if is_last is None:
        return possible
    rows, columns = sole(possible).nonzero(as_tuple=True)
    if not len(rows):
        return possible
    chosen = possible.clone()
    tokens = ids[rows, columns].tolist()
    chosen[rows, columns] = chosen.new_tensor([not is_last(row, token) for row, token in zip(rows.tolist(), tokens, strict=True)])
    return chosen
