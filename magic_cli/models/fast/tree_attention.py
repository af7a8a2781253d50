"""Attention over growing texts: over the tokens that all texts of a row share, and over the tail of each text.

Shapes: B rows, U distinct texts, N new tokens, Q of them that ask, S shared tokens, D width, d = D / heads; G groups of texts, each
with up to A askers and W tail tokens.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from magic_cli.models.fast.small_attention import attend, for_all_heads
from magic_cli.models.image_text.text_plan import Ints, TextPlan

_GROUP = 12
"""Texts of a row that go through attention as one sequence. Longer sequences cost more attention (it grows with the square of the
length); more sequences cost more overhead. On a Xeon with 45 candidates, 12 takes 2/3 of the time of 45, and 0.9 of that of 8 or 16."""


class TreeAttention:
    """Attention of a step's new tokens.

    A few texts of a row at a time are one sequence, in which a mask keeps each token to what it may see: the cost grows in
    proportion to the number of candidates, not to its square.

    Args:
        plan: The step.
        num_heads: Attention heads.
        dtype: Of queries, keys and values.
        on_device: Moves index arrays to where the tower computes.
    """

    def __init__(self, plan: TextPlan, num_heads: int, dtype: torch.dtype, on_device: Callable[[np.ndarray], Tensor]) -> None:
        self.num_heads, self.num_shared = num_heads, int(plan.shared.max())
        texts_of_row = np.bincount(plan.text_rows)  # none where a row follows another
        groups_of_row = -(-texts_of_row // _GROUP)
        first_group, first_text = _starts(groups_of_row), _starts(texts_of_row)
        group_of_text = first_group[plan.text_rows] + (np.arange(len(plan.text_rows)) - first_text[plan.text_rows]) // _GROUP
        # a token asks in the group of its first text, which holds all that it may see; newly shared ones in their row's first
        group_of = np.concatenate([group_of_text, [-1]])[plan.owners]
        group_of = np.where(group_of < 0, first_group[plan.rows], group_of)
        texts, places = np.nonzero(plan.paths >= 0)
        pairs = np.unique(group_of_text[texts] * len(plan.ids) + plan.paths[texts, places])
        groups, members = np.divmod(pairs, len(plan.ids))  # of each group, its texts' tokens
        tail_grid = members[_as_grid(groups)[0]]  # (G, W)
        self._tails = on_device(tail_grid)
        self._rows = on_device(np.repeat(np.arange(len(groups_of_row)), groups_of_row))  # (G)
        self._rows_are_groups = len(groups_of_row) == len(plan.shared) and bool(np.all(groups_of_row == 1))
        asking, places = _as_grid(group_of)  # (G, A), (N)
        hidden = on_device(~np.concatenate(self._seen(plan, asking, tail_grid), axis=2))
        mask = torch.zeros(hidden.shape, dtype=dtype, device=hidden.device).masked_fill_(hidden, torch.finfo(dtype).min)
        self._mask = for_all_heads(mask[:, None], num_heads, len(mask))
        # rows of single heads: what is taken so lies as attention wants it, and is not copied once more
        heads, num_askers = np.arange(num_heads), asking.shape[1]
        asking_heads = 3 * num_heads * asking[:, None] + heads[:, None]  # (G, heads, A)
        group_of_place, slots = np.divmod(places, num_askers)
        answers = (group_of_place[:, None] * num_heads + heads) * num_askers + slots[:, None]  # (N, heads)
        self._shape, self._asking = asking_heads.shape, on_device(asking_heads.reshape(-1))
        self._answers, self._answers_of_ends = (on_device(part.reshape(-1)) for part in (answers, answers[plan.ends]))

    def _seen(self, plan: TextPlan, asking: Ints, tail_grid: Ints) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which of its row's shared tokens, (G, A, S), and of its group's tails, (G, A, W), each of ``asking`` (G, A) sees."""
        asking, tails = asking[:, :, None], tail_grid[:, None]
        sees_tail = (plan.paths[plan.owners[asking], plan.positions[tails]] == tails) & (tails <= asking)
        return np.arange(self.num_shared) < plan.limits[asking], sees_tail & _is_first(tail_grid)[:, None]

    def __call__(self, new: Tensor, shared: Tensor, *, ends_only: bool) -> Tensor:
        """Attended values (N, D), or (U, D) of the end tokens.

        Args:
            new: Queries, keys and values of the new tokens, side by side, (N, 3 D).
            shared: Keys and values (B, context length, 2 D) of what each row shares, the new ones included. What stands behind is lost.
            ends_only: Whether only the end tokens' values are wanted.
        """
        width = new.shape[1] // 3
        query = new.reshape(-1, width // self.num_heads).index_select(0, self._asking).view(*self._shape, -1)  # (G, heads, A, d)
        keys_and_values = self._with_tails(new[:, width:], shared).unflatten(2, (2, self.num_heads, -1))
        keys, values = keys_and_values.permute(2, 0, 3, 1, 4)  # (G, heads, S + W, d) each
        attended = attend(query, keys, values, self._mask)  # (G, heads, A, d)
        wanted = self._answers_of_ends if ends_only else self._answers
        return attended.reshape(-1, attended.shape[3]).index_select(0, wanted).view(-1, width)

    def _with_tails(self, new: Tensor, shared: Tensor) -> Tensor:
        """Keys and values of what each group sees, (G, S + W, 2 D); arguments as in ``__call__``."""
        first, end = self.num_shared, self.num_shared + self._tails.shape[1]
        tails = new.index_select(0, self._tails.flatten()).unflatten(0, self._tails.shape)
        if self._rows_are_groups and end <= shared.shape[1]:  # for this once behind the shared ones, which are then not copied
            shared[:, first:end] = tails
            return shared[:, :end]
        return torch.cat([shared[:, :first].index_select(0, self._rows), tails], dim=1)


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
