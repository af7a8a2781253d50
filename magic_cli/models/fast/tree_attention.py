"""Attention over growing texts: over the tokens that all texts of a row share, and over the tail of each text.

Shapes: B rows, U distinct texts, N new tokens, Q of them that ask, S shared tokens, D width, d = D / heads; G groups of texts, each
with up to A askers and W tail tokens.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from magic_cli.models.fast.small_attention import attend, for_all_heads
from magic_cli.models.image_text.text_plan import Ints, TextPlan

_GROUP = 12
"""Texts of a row that go through attention as one sequence. Longer sequences cost more attention (it grows with the square of the
length); more sequences cost more overhead. On a Xeon with 45 candidates, 12 takes 2/3 of the time of 45, and 0.9 of that of 8 or 16."""


class TreeAttention:
    """Attention of some of a step's new tokens.

    A few texts of a row at a time are one sequence, in which a mask keeps each token to what it may see: the cost grows in
    proportion to the number of candidates, not to its square.

    Args:
        plan: The step.
        num_heads: Attention heads.
        dtype: Of queries, keys and values.
        on_device: Moves index arrays to where the tower computes.

    Attributes:
        tokens: (Q) indices of the tokens that ask, where the tower computes; all N new ones, but for ``of_ends``.
    """

    def __init__(self, plan: TextPlan, num_heads: int, dtype: torch.dtype, on_device: Callable[[np.ndarray], Tensor]) -> None:
        self.num_heads, self.num_shared = num_heads, int(plan.shared.max())
        self._plan, self._dtype, self._on_device = plan, dtype, on_device
        texts_of_row = np.bincount(plan.text_rows)  # none where a row follows another
        groups_of_row = -(-texts_of_row // _GROUP)
        first_group, first_text = _starts(groups_of_row), _starts(texts_of_row)
        group_of_text = first_group[plan.text_rows] + (np.arange(len(plan.text_rows)) - first_text[plan.text_rows]) // _GROUP
        # a token asks in the group of its first text, which holds all that it may see; newly shared ones in their row's first
        self._group_of = np.concatenate([group_of_text, [-1]])[plan.owners]
        self._group_of = np.where(self._group_of < 0, first_group[plan.rows], self._group_of)
        texts, places = np.nonzero(plan.paths >= 0)
        pairs = np.unique(group_of_text[texts] * len(plan.ids) + plan.paths[texts, places])
        groups, members = np.divmod(pairs, len(plan.ids))  # of each group, its texts' tokens
        self._tail_grid = members[_as_grid(groups)[0]]  # (G, W)
        self._tails = on_device(self._tail_grid)
        self._rows = on_device(np.repeat(np.arange(len(groups_of_row)), groups_of_row))  # (G)
        self._rows_are_groups = len(groups_of_row) == len(plan.shared) and bool(np.all(groups_of_row == 1))
        self._let_ask(np.arange(len(plan.ids)))

    def of_ends(self) -> TreeAttention:
        """The same where only the texts' end tokens ask."""
        ends = copy.copy(self)
        ends._let_ask(self._plan.ends)
        return ends

    def _let_ask(self, tokens: Ints) -> None:
        asking, places = _as_grid(self._group_of[tokens])  # (G, A), (Q)
        asking_tokens, tail_tokens = tokens[asking][:, :, None], self._tail_grid[:, None]
        owners, stands_at = self._plan.owners[asking_tokens], self._plan.positions[tail_tokens]
        sees_shared = np.arange(self.num_shared) < self._plan.limits[asking_tokens]  # (G, A, S)
        sees_tail = (self._plan.paths[owners, stands_at] == tail_tokens) & (tail_tokens <= asking_tokens)  # (G, A, W)
        sees_tail &= _is_first(self._tail_grid)[:, None]
        hidden = self._on_device(~np.concatenate([sees_shared, sees_tail], axis=2))
        mask = torch.zeros(hidden.shape, dtype=self._dtype, device=hidden.device)
        mask = mask.masked_fill_(hidden, torch.finfo(self._dtype).min)[:, None]
        self._mask = for_all_heads(mask, self.num_heads, len(mask))
        self.tokens, self._asking, self._places = map(self._on_device, (tokens, asking, places))

    def __call__(self, query: Tensor, new: Tensor, shared: Tensor) -> Tensor:
        """Attended values.

        Args:
            query: (Q, D).
            new: Keys and, beside them, values of the new tokens, (N, 2 D).
            shared: The same (B, context length, 2 D) of what each row shares, the new ones included. What stands behind is lost.

        Returns:
            (Q, D).
        """
        keys, values = self._with_tails(new, shared).chunk(2, dim=-1)  # (G, S + W, D)
        asking, keys, values = (self._heads(tensor) for tensor in (_take(query, self._asking), keys, values))
        attended = attend(asking, keys, values, self._mask)  # (G, heads, A, d)
        return attended.transpose(1, 2).flatten(2).flatten(0, 1).index_select(0, self._places)

    def _with_tails(self, new: Tensor, shared: Tensor) -> Tensor:
        """Keys and values of what each group sees, (G, S + W, 2 D); arguments as in ``__call__``."""
        first, end = self.num_shared, self.num_shared + self._tails.shape[1]
        tails = _take(new, self._tails)
        if self._rows_are_groups and end <= shared.shape[1]:  # for this once behind the shared ones, which are then not copied
            shared[:, first:end] = tails
            return shared[:, :end]
        return torch.cat([shared[:, :first].index_select(0, self._rows), tails], dim=1)

    def _heads(self, x: Tensor) -> Tensor:
        """(G, X, D) -> (G, heads, X, d)."""
        return x.unflatten(2, (self.num_heads, -1)).transpose(1, 2)


def _take(x: Tensor, grid: Tensor) -> Tensor:
    """(N, D) at the places of a grid (G, X) -> (G, X, D)."""
    return x.index_select(0, grid.flatten()).unflatten(0, grid.shape)


def _starts(lengths: Ints) -> Ints:
    """Where each of several ranges starts that lie one after the other."""
    return np.cumsum(lengths) - lengths


def _as_grid(group_of: Ints) -> tuple[Ints, Ints]:
    """Members of each group, every group has some: as a grid (G, X), a shorter one repeating its last, and where each one is there."""
    order, counts = np.argsort(group_of, kind="stable"), np.bincount(group_of)
    starts, slots = _starts(counts), np.arange(counts.max())
    places = np.empty_like(order)
    places[order] = np.arange(len(order)) - np.repeat(starts, counts) + np.repeat(np.arange(len(counts)) * len(slots), counts)
    return order[starts[:, None] + np.minimum(slots, counts[:, None] - 1)], places


def _is_first(grid: Ints) -> np.ndarray:
    """Which members of a grid's groups are no repetition of the one before, (G, X) bool."""
    return np.concatenate([np.ones((len(grid), 1), dtype=bool), np.diff(grid, axis=1) != 0], axis=1)
