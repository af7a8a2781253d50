"""Asks the guides only about candidates that they could still make the best: the same tokens with fewer texts.

The guides add ``sum of beta_i f_i`` to a score, with every f_i in [0, 1]. So a candidate that trails the leader by more than the sum of the
betas cannot win, and where no rival is left, nobody has to be asked. Otherwise the leader and its rivals are asked first. Without the
others their f are too large, all by the same factor (``Guide.may_ask_few``). So for any two of them

    f_leader - f_rival lies between 0 and what it is among those that were asked

and the step is decided where the leader wins at both ends. In the other rows the rest is asked, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from magic_cli.decoding import scoring
from magic_cli.decoding.shortcuts import laziness

if TYPE_CHECKING:
    from magic_cli.decoding.guides import Steering

_CLEAR_LEAD = 0.6
"""Share of the guides' whole range by which the leader must lead before it pays to ask about its rivals alone. With a smaller lead the image
often changes the choice, and a second pass for the rest costs more than is saved: it reads all weights once more. In stories 4.2 of 5 texts are
read at first, and of the steps of eight rows 1 in 19 needs a second pass; with 0.4 it would be 4.0 texts and 1 step in 8, with 0 3.7 texts
and 3 in 4."""


def ask(
    known: Tensor, forbidden: Tensor | None, steering: Steering, read: Callable[[Tensor], Sequence[Tensor]]
) -> tuple[tuple[Tensor, ...], int]:
    """How well candidates' texts fit, for each guide, as far as it can matter.

    Args:
        known: (R, K) the scores without the guides.
        forbidden: (R, K) bool: candidates that may not come next; None: all may.
        steering: The guides.
        read: Which candidates, (R, K) bool with at least one in each row -> the features (R, K, E) of their texts, and of those that were read
            before, for each guide.

    Returns:
        f (R, K) for each guide, 0 for candidates that were not asked about; empty where no guide was asked. With these numbers the same
        candidate has the best score, and is as clearly ahead of what rounding could change. And how many rows have no rivals.
    """
    rivals = laziness.can_win(known, forbidden, unknown=steering.weight)  # and the leader
    num_rivals = rivals.sum(dim=1, keepdim=True)
    unrivalled = int((num_rivals == 1).sum())
    if unrivalled == len(known):
        return (), unrivalled
    allowed = torch.ones_like(rivals) if forbidden is None else ~forbidden
    ranked = known.nan_to_num(nan=0.0).masked_fill(~rivals, -torch.inf)  # NaN: the only candidate, or a fault that is found later
    top, places = ranked.topk(2, dim=1)
    clear = (num_rivals == 1) | (top[:, :1] - top[:, 1:] > _CLEAR_LEAD * steering.weight)
    asked = rivals.where(clear, allowed)
    f = steering.score(read(asked), ~asked)
    rest = allowed & ~asked & ~_is_decided(known, f, rivals, places[:, :1], steering)[:, None]
    if rest.any():
        asked = asked | rest
        # a row of which nothing is left to read repeats its best candidate, from which its text goes on
        best = scoring.best_candidate((ranked + steering.total(f)).nan_to_num(nan=-torch.inf, neginf=-torch.inf))[:, None]
        again = torch.zeros_like(rivals).scatter(1, best, True)
        f = steering.score(read(rest.where(rest.any(dim=1, keepdim=True), again)), ~asked)
    return f, unrivalled


def _is_decided(known: Tensor, f: Sequence[Tensor], rivals: Tensor, leader: Tensor, steering: Steering) -> Tensor:
    """(R,) bool: whether the leader, at a place (R, 1), wins, however well the candidates fit that were not asked about."""
    lead = known.gather(1, leader) - known
    for guide, fit in zip(steering.guides, f, strict=True):
        lead = lead + guide.weight * (fit.gather(1, leader) - fit).clamp(max=0)
    return (lead >= scoring.near_scores(steering.weight)).logical_or(~rivals).scatter(1, leader, True).all(dim=1)
