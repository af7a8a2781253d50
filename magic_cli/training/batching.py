"""Which samples make which update: a function of the seed and the number of the update, so that nothing needs remembering.

Samples run through one shuffled pass after the other. With length grouping, pools of 64 updates are sorted by length and cut
into micro-batches, which are then shuffled: hardly any padding, and no order of lengths from update to update.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from magic_cli.training.simctg import IGNORED

_POOL_UPDATES = 64


@dataclass
class BatchPlan:
    """Deals samples to updates.

    Attributes:
        lengths: Tokens of each sample.
        batch_size: Samples of a micro-batch.
        per_update: Micro-batches of an update.
        seed: Of all shuffling.
        by_length: Whether samples of similar length share a micro-batch.
    """

    lengths: Sequence[int]
    batch_size: int
    per_update: int
    seed: int
    by_length: bool = True
    _pool: tuple[int, list[list[int]]] | None = field(default=None, repr=False)
    _pass: tuple[int, list[int]] | None = field(default=None, repr=False)

    def micro_batches(self, update: int) -> list[list[int]]:
        """Indices of the samples of each micro-batch of an update, counted from 0."""
        number, place = divmod(update, self._pool_updates)
        if self._pool is None or self._pool[0] != number:
            self._pool = (number, self._cut(number))
        start = place * self.per_update
        return self._pool[1][start : start + self.per_update]

    @property
    def _pool_updates(self) -> int:
        """Updates of a pool: not more than one pass over few samples, or a sample would meet itself in a micro-batch."""
        return max(1, min(_POOL_UPDATES, len(self.lengths) // (self.per_update * self.batch_size)))

    def _cut(self, number: int) -> list[list[int]]:
        size = self._pool_updates * self.per_update * self.batch_size
        pool = [self._sample(position) for position in range(number * size, (number + 1) * size)]
        if self.by_length:
            pool.sort(key=lambda index: self.lengths[index])
        batches = [pool[i : i + self.batch_size] for i in range(0, len(pool), self.batch_size)]
        if self.by_length:
            random.Random(f"{self.seed} pool {number}").shuffle(batches)
        return batches

    def _sample(self, position: int) -> int:
        """The sample at a position of the endless sequence of passes."""
        number, place = divmod(position, len(self.lengths))
        if self._pass is None or self._pass[0] != number:
            order = list(range(len(self.lengths)))
            random.Random(f"{self.seed} pass {number}").shuffle(order)
            self._pass = (number, order)
        return self._pass[1][place]


def collate(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs (B, T), the tokens that follow (B, T), and lengths (B,) of rows of T + 1 tokens at most, padded on the right.

    Padding is token 0: nothing looks at it, since attention is causal and its label is ignored.
    """
    lengths = torch.tensor([len(row) - 1 for row in rows])
    width = int(lengths.max())
    inputs = torch.zeros(len(rows), width, dtype=torch.long)
    labels = torch.full((len(rows), width), IGNORED)
    for i, row in enumerate(rows):
        tokens = torch.tensor(row)
        inputs[i, : len(row) - 1], labels[i, : len(row) - 1] = tokens[:-1], tokens[1:]
    return inputs, labels, lengths
