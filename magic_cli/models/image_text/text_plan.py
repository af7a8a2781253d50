"""Which tokens of growing texts must be computed: worked out on the host, for all rows and candidates at once.

Shapes: B rows, K candidates of a row, U distinct texts, N tokens to compute, W longest text.
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

    Rows with the same texts are computed once, for the first of them: it is their leader. Tails that begin alike are a tree: what they have
    in common is computed once, too. The N tokens are first those newly shared, leader by leader, then what is new in each tail, text by text.
    """

    ids: Ints
    """(N) token ids."""
    positions: Ints
    """(N) place in the text."""
    rows: Ints
    """(N) leader of the rows that it is computed for."""
    limits: Ints
    """(N) how many shared tokens a token attends to: up to itself if it is shared, else all of its row."""
    owners: Ints
    """(N) the first distinct text that a token is part of; U where it is shared by all."""
    paths: Ints
    """(U + 1, W) which of the N tokens stands at a place of a text; -1 outside of its tail, and in the last row."""
    ends: Ints
    """(U) index, among the N tokens, of each text's end token."""
    text_of: Ints
    """(B, K) distinct text of each candidate."""
    shared: Ints
    """(B) tokens that a row's candidates share."""
    texts: Ints
    """(U, W) token ids of the distinct texts, of each leader in order."""
    text_rows: Ints
    """(U) leader of each distinct text."""
    fresh: Places
    """Newly shared tokens."""
    recalled: Places
    """Tokens that are shared now and stood in a tail of the step before, whose N tokens are meant."""

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
        known, recalled = earlier.recall(grid[:, 0], shared) if earlier else (np.zeros_like(shared), (shared[:0],) * 3)
        firsts, leaders, text_of = _distinct(grid, known)
        texts, text_rows = grid.reshape(-1, grid.shape[2])[firsts], leaders[firsts // grid.shape[1]]
        lengths = lengths.reshape(-1)[firsts]
        fresh, (fresh_rows, fresh_places) = _share(leaders, known, shared)
        paths, is_new = _as_tree(texts, text_rows, shared[text_rows], lengths, len(fresh_rows))
        owners, places = is_new.nonzero()
        return cls(
            ids=np.concatenate([grid[fresh_rows, 0, fresh_places], texts[owners, places]]),
            positions=np.concatenate([fresh_places, places]),
            rows=np.concatenate([fresh_rows, text_rows[owners]]),
            limits=np.concatenate([fresh_places + 1, shared[text_rows[owners]]]),
            owners=np.concatenate([np.full_like(fresh_rows, len(texts)), owners]),
            paths=paths,
            ends=paths[np.arange(len(texts)), lengths - 1],
            text_of=text_of,
            shared=shared,
            texts=texts,
            text_rows=text_rows,
            fresh=fresh,
            recalled=recalled,
        )


Places = tuple[Ints, Ints, Ints]
"""Where keys and values go: index among computed tokens, row, place in its text."""


@dataclass
class Earlier:
    """The step before, as the rows stand now."""

    plan: TextPlan
    row_of: Ints
    """(B) row that each of today's rows was then."""

    def select(self, rows: Sequence[int]) -> Earlier:
        return Earlier(self.plan, self.row_of[np.asarray(rows, dtype=np.int64)])

    def recall(self, wanted: Ints, shared: Ints) -> tuple[Ints, Places]:
        """How many leading tokens of ``wanted`` (B, W), of which ``shared`` (B) count, are known, and where the latest are."""
        plan = self.plan
        width = min(wanted.shape[1], plan.texts.shape[1])
        known, sources = np.zeros_like(shared), []
        for row, before in enumerate(self.row_of):
            texts = plan.text_of[before]
            agreeing = _leading(plan.texts[texts, :width] == wanted[row, :width])
            best = int(agreeing.argmax())
            known[row] = min(agreeing[best], shared[row])
            places = np.arange(plan.shared[before], known[row])
            sources.append((plan.paths[texts[best], places], np.full_like(places, row), places))
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


def _distinct(grid: Ints, known: Ints) -> tuple[Ints, Ints, Ints]:
    """Of texts (B, K, W): which rows say the same, and what is distinct among the others.

    Args:
        grid: The texts.
        known: (B) how many of its tokens a row need not compute; rows that say the same must agree in this.

    Returns:
        First occurrence (U) among B * K of every distinct text of a leader, leader by leader, in order; each row's leader (B); which
        text (B, K) each candidate is.
    """
    num_rows, num_candidates, width = grid.shape
    # as bytes that sort like the numbers: numpy's own search for equal rows takes several times as long
    data, size = (grid - _NOTHING).astype(">u4").tobytes(), 4 * width
    texts = [data[start : start + size] for start in range(0, len(data), size)]
    rows = [texts[start : start + num_candidates] for start in range(0, len(texts), num_candidates)]
    first: dict[tuple[int, frozenset[bytes]], int] = {}
    leaders = [first.setdefault((n, frozenset(row)), i) for i, (n, row) in enumerate(zip(known.tolist(), rows, strict=True))]
    named = [(leader, text) for leader, row in zip(leaders, rows, strict=True) for text in row]
    places = {name: place for place, name in reversed(list(enumerate(named)))}
    numbers = {name: number for number, name in enumerate(sorted(places))}
    firsts = np.array([places[name] for name in numbers], dtype=np.int64)
    text_of = np.array([numbers[name] for name in named], dtype=np.int64)
    return firsts, np.array(leaders, dtype=np.int64), text_of.reshape(num_rows, num_candidates)


def _share(leaders: Ints, known: Ints, shared: Ints) -> tuple[Places, tuple[Ints, Ints]]:
    """Newly shared tokens: where they go in all rows; and row and place of those that are computed, leader by leader."""
    leads = leaders == np.arange(len(leaders))
    counts = np.where(leads, shared - known, 0)
    starts = np.cumsum(counts) - counts
    rows, places = _ranges(known, shared - known)
    tokens = starts[leaders[rows]] + places - known[rows]
    return (tokens, rows, places), (rows[leads[rows]], places[leads[rows]])


def _as_tree(texts: Ints, text_rows: Ints, shared: Ints, lengths: Ints, num_before: int) -> tuple[Ints, NDArray[np.bool_]]:
    """``TextPlan.paths`` of texts (U, W) in order, whose tails (U) begin behind what is shared, and which places (U, W) are computed."""
    places = np.arange(texts.shape[1])
    alike = np.zeros_like(lengths)  # tokens in common with the text before
    alike[1:] = np.where(text_rows[1:] == text_rows[:-1], _leading(texts[1:] == texts[:-1]), 0)
    inside = (places >= shared[:, None]) & (places < lengths[:, None])
    is_new = inside & (places >= alike[:, None])
    numbers = np.where(is_new, num_before + np.cumsum(is_new).reshape(is_new.shape) - 1, -1)
    paths = np.where(inside, np.maximum.accumulate(numbers, axis=0), -1)
    return np.concatenate([paths, np.full_like(paths[:1], -1)]), is_new


def _ranges(starts: Ints, lengths: Ints) -> tuple[Ints, Ints]:
    """The numbers ``start .. start + length - 1`` of every range one after the other, and the range that each belongs to."""
    owners = np.repeat(np.arange(len(lengths)), lengths)
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return owners, starts[owners] + within
