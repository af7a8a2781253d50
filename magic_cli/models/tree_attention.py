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
        within = np.empty_like(order)
        within[order] = np.arange(len(order)) - np.repeat(np.cumsum(per_row) - per_row, per_row)
        self.num_slots = int(per_row.max())

        offsets = np.arange(plan.tail_lengths.max())
        tails = plan.tail_starts[:, None] + np.minimum(offsets, plan.tail_lengths[:, None] - 1)  # (U, L)
        asking = tokens[tokens >= plan.num_fresh]
        texts = np.repeat(np.arange(len(tails)), plan.tail_lengths)[asking - plan.num_fresh]
        places = asking - plan.tail_starts[texts]
        self.num_fresh = len(tokens) - len(asking)
        self.one_of_each_tail = len(asking) == len(tails)

        unseen_shared = np.arange(self.num_shared) >= plan.limits[tokens, None]  # (Q, S)
        unseen_tail = np.ones((len(tokens), len(offsets)), dtype=bool)  # (Q, L)
        unseen_tail[self.num_fresh :] = offsets > places[:, None]

        self.tokens, self.tails = on_device(tokens), on_device(tails)
        self._unseen = on_device(np.concatenate([unseen_shared, unseen_tail], axis=1))[:, None]  # (Q, 1, S + L)
        self._slots = on_device(rows * self.num_slots + within)  # in a (B, slots) grid
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
        tail_keys, tail_values = (self._heads(tensor[self.tails]).transpose(1, 2) for tensor in new)  # (U, heads, L, d)
        to_shared = self._from_rows(self._by_row(query) @ keys.transpose(2, 3))  # (Q, heads, S)
        to_tail = self._from_tails(self._by_tail(query) @ tail_keys.transpose(2, 3))  # (Q, heads, L)
        scores = torch.cat([to_shared, to_tail], dim=2)
        scores = scores.masked_fill(self._unseen, torch.finfo(scores.dtype).min)
        weights = scores.softmax(dim=2, dtype=torch.float32).to(query.dtype)
        on_shared, on_tail = weights[:, :, : self.num_shared], weights[:, :, self.num_shared :]
        attended = self._from_rows(self._by_row(on_shared) @ values) + self._from_tails(self._by_tail(on_tail) @ tail_values)
        return attended.flatten(1)  # (Q, heads, d) -> (Q, D)

    def _heads(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., heads, d)."""
        return x.unflatten(-1, (self.num_heads, -1))

    def _by_row(self, x: Tensor) -> Tensor:
        """(Q, heads, X) -> (B, heads, slots, X), zero where a row has fewer tokens."""
        return _scatter(x, self._slots, self.num_rows, self.num_slots).transpose(1, 2)

    def _from_rows(self, x: Tensor) -> Tensor:
        """(B, heads, slots, X) -> (Q, heads, X)."""
        return x.transpose(1, 2).flatten(0, 1)[self._slots]

    def _by_tail(self, x: Tensor) -> Tensor:
        """(Q, heads, X) -> (U, heads, L or 1, X), of the tokens that belong to a tail."""
        x = x[self.num_fresh :]
        return x[:, :, None] if self.one_of_each_tail else _scatter(x, self._places, *self.tails.shape).transpose(1, 2)

    def _from_tails(self, x: Tensor) -> Tensor:
        """(U, heads, L or 1, X) -> (Q, heads, X), zero for tokens that belong to no tail."""
        x = x[:, :, 0] if self.one_of_each_tail else x.transpose(1, 2).flatten(0, 1)[self._places]
        return torch.nn.functional.pad(x, (0, 0, 0, 0, self.num_fresh, 0)) if self.num_fresh else x


def _scatter(x: Tensor, places: Tensor, num_groups: int, size: int) -> Tensor:
    """(Q, ...) -> (groups, size, ...), zero where nothing is placed."""
    grid = x.new_zeros(num_groups * size, *x.shape[1:])
    grid[places] = x
    return grid.unflatten(0, (num_groups, size))
