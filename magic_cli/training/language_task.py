"""The task of adapting a language model to texts, for the training loop."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from magic_cli.training.batching import collate, plan_of
from magic_cli.training.checkpoints import take_weights
from magic_cli.training.measuring import measure
from magic_cli.training.objective import Objective
from magic_cli.training.samples import Samples
from magic_cli.training.settings import FinetuneSettings, Normalisation
from magic_cli.training.simctg import count_units

Rows = Sequence[Sequence[int]]


class LanguageTask:
    """Cross-entropy of texts plus SimCTG's contrastive term (implements ``task.Task``).

    Args:
        model: The causal LM.
        settings: Settings of the command.
        samples: Training samples.
        measured: Samples that choose the best checkpoint.
    """

    weights: Sequence[float] = (1.0, 1.0)

    def __init__(self, model: Any, settings: FinetuneSettings, samples: Samples, measured: Samples) -> None:
        self.settings, self.samples, self.measured = settings, samples, measured
        self.num_samples = len(samples.rows)
        per_sequence = settings.objective.normalisation is Normalisation.sequence
        self.module = Objective(model, margin=settings.margin, per_sequence=per_sequence)
        self._plan = plan_of(settings, [len(row) for row in samples.rows]) if samples.rows else None

    def groups(self) -> list[dict[str, Any]]:
        return [{"params": list(self.module.model.parameters())}]

    def micro_batches(self, update: int) -> list[Rows]:
        assert self._plan is not None  # there is no update without samples
        return [[self.samples.rows[i] for i in indices] for indices in self._plan.micro_batches(update)]

    def tensors(self, batch: Rows) -> list[Any]:
        return list(collate(batch))

    def counts(self, batch: Rows) -> tuple[int, int]:
        """The number of predicted tokens, and the divisor of the contrastive sum."""
        lengths = torch.tensor([len(row) - 1 for row in batch])
        return int(lengths.sum()), count_units(lengths, per_sequence=self.module.per_sequence)

    def size(self, batch: Rows) -> tuple[int, int]:
        return sum(len(row) - 1 for row in batch), len(batch) * (max(map(len, batch)) - 1)

    def line(self, sums: Sequence[float], counts: Sequence[int]) -> dict[str, float]:
        loss = sums[0] / counts[0]
        line = {"loss": loss, "perplexity": math.exp(min(loss, 700))}
        return line | ({"contrastive": sums[1] / max(1, counts[1])} if self.settings.margin else {})

    def note(self, line: dict[str, float]) -> str:
        return f"loss {line['loss']:.3f}, perplexity {line['perplexity']:.1f}"

    def measure(self) -> dict[str, float]:
        return measure(self.module, self.measured)

    def state(self) -> dict[str, Any]:
        return self.module.model.state_dict()

    def take(self, weights: dict[str, Any], file: Path) -> None:
        take_weights(self.module.model, weights, file)
