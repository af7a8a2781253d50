"""Skips candidates that can no longer win: the same tokens with less work."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from magic_cli.decoding import scoring


def can_win(known: Tensor, forbidden: Tensor | None, *, unknown: float, lazy: bool = True) -> Tensor:
    """Which candidates can still have the best score, whatever the other parts of it will be.

    These parts lie in a range, whose width is ``unknown``. A penalty is a cosine, in [-1, 1], so its range is 2 alpha wide; a guide's f is
    in [0, 1], and its range beta wide. So a candidate gains at most ``unknown`` on another one. This is exact; a margin allows for rounding.

    Args:
        known: (R, K) what is known of the scores.
        forbidden: (R, K) bool: cannot win in any case; None: none is.
        unknown: Width of the range of what is not known.
        lazy: False: every candidate that is not forbidden counts as able to win.

    Returns:
        (R, K) bool, at least one of a row true; all where a score is NaN.
    """
    if not lazy:
        possible = torch.ones_like(known, dtype=torch.bool)
        return possible if forbidden is None else possible & ~forbidden
    if forbidden is not None:
        known = known.masked_fill(forbidden, -torch.inf)
    possible = ~(known + unknown < known.amax(dim=-1, keepdim=True) - scoring.near_scores(unknown))
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
