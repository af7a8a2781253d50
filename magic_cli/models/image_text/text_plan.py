"""Which tokens of growing texts must be computed: worked out on the host, for all rows and candidates at once.

Shapes: B rows, K candidates of a row, U distinct texts of all rows, N tokens to compute, W longest text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Self

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

_NOTHING = -1  # stands behind the end of a text; no token id


@dataclass
class TextPlan:
    """One step's texts, split into what a row's candidates share and what each has for itself (its tail).

    The N tokens are first those newly shared, row by row, then the tails, text by text; a tail ends with the end token.
    """

    ids: Ints
    """(N) token ids."""
    positions: Ints
    """(N) place in the text."""
    rows: Ints
    """(N) row."""
    limits: Ints
    """(N) how many shared tokens a token attends to: up to itself if it is shared, else all of its row."""
    num_fresh: int
    """How many of the N are newly shared."""
    tail_lengths: Ints
    """(U) tokens of each distinct text's tail, at least 1."""
    text_of: Ints
    """(B, K) distinct text of each candidate."""
    shared: Ints
    """(B) tokens that a row's candidates share."""
    texts: Ints
    """(U, W) token ids of the distinct texts."""
    text_rows: Ints
    """(U) row of each distinct text."""
    recalled: tuple[Ints, Ints, Ints]
    """Tokens that are shared now and stood in a tail of the step before: index among its N tokens, row, place."""

    @classmethod
    def of(cls, tokenized: Sequence[Sequence[int]], num_rows: int, earlier: Earlier | None) -> Self:
        """Plan a step.

        Args:
            tokenized: B * K lists of token ids, row by row; each closes with its only end token.
            num_rows: B.
            earlier: The step before; None at the first.
        """
        lengths, grid = _as_grid(tokenized, num_rows)  # (B, K), (B, K, W)
        shared = np.minimum(_leading(np.all(grid == grid[:, :1], axis=1)), lengths.min(axis=1) - 1)
        firsts, text_rows, text_of = _distinct(grid)
        texts = grid.reshape(-1, grid.shape[2])[firsts]
        tail_lengths = lengths.reshape(-1)[firsts] - shared[text_rows]
        known, recalled = earlier.recall(grid[:, 0], shared) if earlier else (np.zeros_like(shared), (shared[:0],) * 3)
        fresh_rows, fresh_places = _ranges(known, shared - known)
        tail_texts, tail_places = _ranges(shared[text_rows], tail_lengths)
        return cls(
            ids=np.concatenate([grid[fresh_rows, 0, fresh_places], texts[tail_texts, tail_places]]),
            positions=np.concatenate([fresh_places, tail_places]),
            rows=np.concatenate([fresh_rows, text_rows[tail_texts]]),
            limits=np.concatenate([fresh_places + 1, shared[text_rows[tail_texts]]]),
            num_fresh=len(fresh_rows),
            tail_lengths=tail_lengths,
            text_of=text_of,
            shared=shared,
            texts=texts,
            text_rows=text_rows,
            recalled=recalled,
        )

    @property
    def tail_starts(self) -> Ints:
        """(U) index, among the N tokens, of each tail's first."""
        return self.num_fresh + np.cumsum(self.tail_lengths) - self.tail_lengths

    @property
    def ends(self) -> Ints:
        """(U) index, among the N tokens, of each text's end token."""
        return self.tail_starts + self.tail_lengths - 1


@dataclass
class Earlier:
    """The step before, as the rows stand now."""

    plan: TextPlan
    row_of: Ints
    """(B) row that each of today's rows was then."""

    def select(self, rows: Sequence[int]) -> Earlier:
        return Earlier(self.plan, self.row_of[np.asarray(rows, dtype=np.int64)])

    def recall(self, wanted: Ints, shared: Ints) -> tuple[Ints, tuple[Ints, Ints, Ints]]:
        """How many leading tokens of ``wanted`` (B, W), of which ``shared`` (B) count, are known, and where the latest are."""
        plan = self.plan
        width = min(wanted.shape[1], plan.texts.shape[1])
        known, sources = np.zeros_like(shared), []
        for row, before in enumerate(self.row_of):
            texts = np.flatnonzero(plan.text_rows == before)
            agreeing = _leading(plan.texts[texts, :width] == wanted[row, :width])
            best = int(agreeing.argmax())
            known[row] = min(agreeing[best], shared[row])
            places = np.arange(plan.shared[before], known[row])
            tokens = plan.tail_starts[texts[best]] + places - plan.shared[before]
            sources.append((tokens, np.full_like(places, row), places))
        tokens, rows, places = map(np.concatenate, zip(*sources, strict=True))
        return known, (tokens, rows, places)


def _as_grid(tokenized: Sequence[Sequence[int]], num_rows: int) -> tuple[Ints, Ints]:
    """Lengths (B, K) and token ids (B, K, W) of B * K lists, ``_NOTHING`` behind the end."""
    lengths = np.fromiter(map(len, tokenized), dtype=np.int64, count=len(tokenized))
    grid = np.full((len(tokenized), lengths.max()), _NOTHING, dtype=np.int64)
    grid[np.arange(grid.shape[1]) < lengths[:, None]] = np.fromiter(chain.from_iterable(tokenized), dtype=np.int64)
    return lengths.reshape(num_rows, -1), grid.reshape(num_rows, -1, grid.shape[1])


def _leading(flags: NDArray[np.bool_]) -> Ints:
    """How many flags at the start of the last axis are all true."""
    return np.logical_and.accumulate(flags, axis=-1).sum(axis=-1)


def _distinct(grid: Ints) -> tuple[Ints, Ints, Ints]:
    """First occurrence (U) among B * K and row (U) of every distinct text of a row, and which one (B, K) each candidate is."""
    num_rows, num_candidates, width = grid.shape
    rows = np.repeat(np.arange(num_rows), num_candidates)
    keyed = np.concatenate([rows[:, None], grid.reshape(-1, width)], axis=1)
    _, firsts, inverse = np.unique(keyed, axis=0, return_index=True, return_inverse=True)
    return firsts, rows[firsts], inverse.reshape(num_rows, num_candidates)


def _ranges(starts: Ints, lengths: Ints) -> tuple[Ints, Ints]:
    """The numbers ``start .. start + length - 1`` of every range one after the other, and the range that each belongs to."""
    owners = np.repeat(np.arange(len(lengths)), lengths)
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return owners, starts[owners] + within
