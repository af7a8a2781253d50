"""Deals samples to updates. The result depends only on the seed and the number of the update, so no state has to be kept.

Samples run through one shuffled pass after another, and each update takes the next ones. With length grouping, the samples of
one update are sorted by length before they are cut into micro-batches. That leaves hardly any padding, and the update equals
that of random micro-batches, because every token has the same weight in the mean. (Sorting over many updates would save a
little more, but updates of short texts alone, or of long ones alone, learn worse.)
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from magic_cli.training.settings import Averaging, Grouping
from magic_cli.training.simctg import IGNORED
from magic_cli.training.task import TrainingSettings

_MOST_PADDING = 0.08
_TRIED_UPDATES = 50


@dataclass
class BatchPlan:
    """Deals samples to updates.

    Attributes:
        lengths: Tokens of each sample.
        batch_size: Samples per update.
        parts: Micro-batches per update, at most ``batch_size``.
        seed: Seed of all shuffling.
        by_length: Whether samples of similar length share a micro-batch.
    """

    lengths: Sequence[int]
    batch_size: int
    parts: int
    seed: int
    by_length: bool = True
    _pass: tuple[int, list[int]] | None = field(default=None, repr=False)

    def micro_batches(self, update: int) -> list[list[int]]:
        """Indices of the samples in each micro-batch of an update; updates count from 0."""
        samples = [self._sample(update * self.batch_size + i) for i in range(self.batch_size)]
        if self.by_length:
            samples.sort(key=lambda index: self.lengths[index])
        edges = [round(i * self.batch_size / self.parts) for i in range(self.parts + 1)]
        return [samples[start:end] for start, end in zip(edges[:-1], edges[1:], strict=True)]

    def _sample(self, position: int) -> int:
        """The sample at a position of the endless sequence of passes."""
        number, place = divmod(position, len(self.lengths))
        if self._pass is None or self._pass[0] != number:
            order = list(range(len(self.lengths)))
            random.Random(f"{self.seed} pass {number}").shuffle(order)
            self._pass = (number, order)
        return self._pass[1][place]


def fewest_parts(lengths: Sequence[int], batch_size: int, at_least: int, seed: int) -> int:
    """The fewest micro-batches (doubled from ``at_least``) that keep padding well below a tenth; found by trying."""
    parts = at_least
    while 2 * parts <= batch_size and _padding(BatchPlan(lengths, batch_size, parts, seed)) > _MOST_PADDING:
        parts *= 2
    return parts


def plan_of(settings: TrainingSettings, lengths: Sequence[int]) -> BatchPlan:
    """The plan for samples of these lengths. The released averaging needs random micro-batches, so it gets these."""
    run = settings.run
    size = run.batch_size * run.accumulation
    if run.grouping is Grouping.none or settings.averaging is Averaging.micro_batches:
        return BatchPlan(lengths, size, run.accumulation, run.seed, by_length=False)
    parts = run.parts or fewest_parts(lengths, size, run.accumulation, run.seed)
    return BatchPlan(lengths, size, parts, run.seed)


def _padding(plan: BatchPlan) -> float:
    """The share of padding in the first updates."""
    batches = [[plan.lengths[i] - 1 for i in batch] for update in range(_TRIED_UPDATES) for batch in plan.micro_batches(update)]
    return 1 - sum(map(sum, batches)) / sum(len(batch) * max(batch) for batch in batches)


def collate(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs (B, T), next tokens (B, T) and lengths (B,) of rows with at most T + 1 tokens, padded on the right.

    Padding is token 0. It has no effect: attention is causal, and padding has no label.
    """
    lengths = torch.tensor([len(row) - 1 for row in rows])
    width = int(lengths.max())
    inputs = torch.zeros(len(rows), width, dtype=torch.long)
    labels = torch.full((len(rows), width), IGNORED)
    for i, row in enumerate(rows):
        tokens = torch.tensor(row)
        inputs[i, : len(row) - 1], labels[i, : len(row) - 1] = tokens[:-1], tokens[1:]
    return inputs, labels, lengths
