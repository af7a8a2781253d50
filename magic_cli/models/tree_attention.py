"""Attention over growing texts: to what the texts of a row share, and to each text's own tail.

Shapes: B rows, U distinct texts, N new tokens, Q of them that ask, S shared tokens, L longest tail, D width, d = D / heads.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from magic_cli.models.text_plan import TextPlan


class TreeAttention:
    """Attention of some of a step's new tokens.

    Shared tokens and tails are kept apart, so that the cost grows in proportion to the number of candidates, not to its square.

    Args:
        plan: The step.
        tokens: (Q) indices among the N new tokens, ascending: all of them, or one of each tail.
        num_heads: Attention heads.
        on_device: Moves index arrays to where the tower computes.

    Attributes:
        tokens: (Q) the same, there.
    """

    def __init__(
        self, plan: TextPlan, tokens: np.ndarray, num_heads: int, on_device: Callable[[np.ndarray], Tensor]
    ) -> None:
        self.num_heads, self.num_rows, self.num_shared = num_heads, len(plan.shared), int(plan.shared.max())
        rows = plan.rows[tokens]
        order, per_row = np.argsort(rows, kind="stable"), np.bincount(rows, minlength=self.num_rows)
        starts = np.cumsum(per_row) - per_row
        within = np.empty_like(order)
        within[order] = np.arange(len(order)) - np.repeat(starts, per_row)
        slots = np.arange(per_row.max())
        self.num_slots = len(slots)

        offsets = np.arange(plan.tail_lengths.max())
        tails = plan.tail_starts[:, None] + np.minimum(offsets, plan.tail_lengths[:, None] - 1)  # (U, L)
        asking = tokens[tokens >= plan.num_fresh]
        texts = np.repeat(np.arange(len(tails)), plan.tail_lengths)[asking - plan.num_fresh]
        places = asking - plan.tail_starts[texts]
        self.num_fresh = len(tokens) - len(asking)
        self.one_of_each_tail = len(asking) == len(tails)
        self.tails_are_equal = bool((plan.tail_lengths == len(offsets)).all())

        unseen_shared = np.arange(self.num_shared) >= plan.limits[tokens, None]  # (Q, S)
        unseen_tail = np.ones((len(tokens), len(offsets)), dtype=bool)  # (Q, L)
        unseen_tail[self.num_fresh :] = offsets > places[:, None]

        self.tokens, self.tails = on_device(tokens), on_device(tails)
        self._unseen = on_device(np.concatenate([unseen_shared, unseen_tail], axis=1))[:, None]  # (Q, 1, S + L)
        # tokens of each row as a (B, slots) grid, a shorter row repeating its last; and back
        self._grid = on_device(order[starts[:, None] + np.minimum(slots, per_row[:, None] - 1)].reshape(-1))
        self._slots = on_device(rows * self.num_slots + within)
        self._places = on_device(texts * len(offsets) + places)  # in a (U, L) grid

    def __call__(self, query: Tensor, new: tuple[Tensor, Tensor], shared: tuple[Tensor, Tensor]) -> Tensor:
        """Attended values.

        Args:
            query: (Q, D).
            new: Keys and values (N, D) of the new tokens.
            shared: Keys and values (B, context length, D) of what each row shares, the new ones included.

        Returns:
            (Q, D).
        """
        query = self._heads(query) * (query.shape[-1] // self.num_heads) ** -0.5  # (Q, heads, d)
        keys, values = (self._heads(tensor[:, : self.num_shared]).transpose(1, 2) for tensor in shared)  # (B, heads, S, d)
        tail_keys, tail_values = (self._heads(self._tails_of(tensor)).unbind(dim=1) for tensor in new)  # L of (U, heads, d)
        # this way round, (B, heads, S, slots), the few keys cost the library a fifth of the time
        to_shared = self._from_rows((keys @ self._by_row(query).transpose(2, 3)).transpose(2, 3))  # (Q, heads, S)
        # tails are short, mostly two tokens: as matrix products they would be too small for any library to be quick
        tail_query = self._by_tail(query)  # (U, L or 1, heads, d)
        to_tail = torch.stack([(tail_query * key[:, None]).sum(dim=3) for key in tail_keys], dim=3)
        to_tail = self._from_tails(to_tail)  # (Q, heads, L)
        scores = torch.cat([to_shared, to_tail], dim=2).float()
        weights = _softmax(scores.masked_fill_(self._unseen, torch.finfo(torch.float32).min)).to(query.dtype)
        on_shared, on_tail = weights[:, :, : self.num_shared], self._by_tail(weights[:, :, self.num_shared :])
        from_tail = on_tail[..., :1] * tail_values[0][:, None]  # (U, L or 1, heads, d)
        for place, value in enumerate(tail_values[1:], start=1):
            from_tail.addcmul_(on_tail[..., place, None], value[:, None])
        attended = self._from_rows(self._by_row(on_shared) @ values) + self._from_tails(from_tail)
        return attended.flatten(1)  # (Q, heads, d) -> (Q, D)

    def _heads(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., heads, d)."""
        return x.unflatten(-1, (self.num_heads, -1))

    def _tails_of(self, x: Tensor) -> Tensor:
        """(N, ...) -> (U, L, ...), a shorter tail repeating its last token."""
        flat = x[-self.tails.numel() :] if self.tails_are_equal else x.index_select(0, self.tails.flatten())
        return flat.unflatten(0, self.tails.shape)

    def _by_row(self, x: Tensor) -> Tensor:
        """(Q, heads, X) -> (B, heads, slots, X)."""
        grid = x if self.num_rows == 1 else x.index_select(0, self._grid)
        return grid.unflatten(0, (self.num_rows, self.num_slots)).transpose(1, 2)

    def _from_rows(self, x: Tensor) -> Tensor:
        """(B, heads, slots, X) -> (Q, heads, X)."""
        flat = x.transpose(1, 2).flatten(0, 1)
        return flat if self.num_rows == 1 else flat.index_select(0, self._slots)

    def _by_tail(self, x: Tensor) -> Tensor:
        """(Q, heads, X) -> (U, L or 1, heads, X), of the tokens that belong to a tail."""
        return x[self.num_fresh :, None] if self.one_of_each_tail else self._tails_of(x)

    def _from_tails(self, x: Tensor) -> Tensor:
        """(U, L or 1, heads, X) -> (Q, heads, X), zero for tokens that belong to no tail."""
        flat = x.flatten(0, 1)
        flat = flat if self.one_of_each_tail or self.tails_are_equal else flat.index_select(0, self._places)
        return torch.nn.functional.pad(flat, (0, 0, 0, 0, self.num_fresh, 0)) if self.num_fresh else flat


_FAINTEST = -80.0
"""exp of it is nothing beside 1, and still a normal number: those that underflow take the processor thirty times as long."""


def _softmax(scores: Tensor) -> Tensor:
    """Over the last dimension, in place. torch's own is made for long rows and takes five times as long for ten numbers."""
    scores = scores.sub_(scores.amax(dim=-1, keepdim=True)).clamp_min_(_FAINTEST).exp_()
    return scores.div_(scores.sum(dim=-1, keepdim=True))
