"""One update of the weights: micro-batches forward and backward, gradient clipped, AdamW, learning rate."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from magic_cli.training.batching import collate
from magic_cli.training.checkpoints import take_weights
from magic_cli.training.objective import Objective
from magic_cli.training.settings import Averaging, FinetuneSettings, Normalisation, OptimizerSettings, Shape
from magic_cli.training.simctg import count_units

if TYPE_CHECKING:
    from accelerate import Accelerator


def rate_factor(step: int, total: int, settings: OptimizerSettings) -> float:
    """Share of the highest learning rate at a step counted from 0, in [0, 1]; with warm-up the first step's is 0, as in transformers.

    >>> [round(rate_factor(step, 10, OptimizerSettings(warmup=0.2)), 3) for step in (0, 1, 2, 6, 9)]
    [0.0, 0.5, 1.0, 0.5, 0.125]
    """
    warmup = int(settings.warmup * total)
    if step < warmup:
        return step / warmup
    done = (step - warmup) / max(1, total - warmup)
    falling = {Shape.linear: 1 - done, Shape.cosine: (1 + math.cos(math.pi * done)) / 2, Shape.constant: 1.0}[settings.shape]
    return settings.floor + (1 - settings.floor) * falling


def step_seed(seed: int, step: int, process: int) -> int:
    """Seed of the dropout of one update in one process: every update draws anew, whatever ran before it."""
    digest = hashlib.sha256(f"{seed} {step} {process}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


class Updater:
    """Model, optimizer and their device.

    Args:
        model: The causal LM.
        settings: Of the command.
        accelerator: Places model and data, and averages gradients over processes.
        total: Updates of the whole run.
    """

    def __init__(self, model: Any, settings: FinetuneSettings, accelerator: Accelerator, total: int) -> None:
        self.settings, self.accelerator, self.total = settings, accelerator, total
        self.objective = Objective(
            model, margin=settings.margin, per_sequence=settings.objective.normalisation is Normalisation.sequence
        ).train()
        options = settings.optimizer
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=options.lr, betas=(options.beta1, options.beta2), eps=options.eps, weight_decay=options.weight_decay,
            fused=True,
        )  # fmt: skip
        self.wrapped, self.optimizer = accelerator.prepare(self.objective, optimizer)

    def update(self, step: int, micro_batches: Sequence[Sequence[Sequence[int]]]) -> tuple[Tensor, float]:
        """One update with the micro-batches of all processes, of which this one takes its share.

        Returns:
            Sums of cross-entropy and contrastive term over all processes' tokens and units, (2,), and the learning rate.
        """
        rank, count = self.accelerator.process_index, self.accelerator.num_processes
        torch.manual_seed(step_seed(self.settings.run.seed, step, rank))
        rate = self.settings.optimizer.lr * rate_factor(step, self.total, self.settings.optimizer)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        scales = self._scales(micro_batches)
        mine = list(zip(micro_batches, scales, strict=True))[rank::count]
        sums = torch.zeros(2, device=self.accelerator.device)
        for number, (rows, (of_tokens, of_units)) in enumerate(mine, start=1):
            tensors = [tensor.to(self.accelerator.device) for tensor in collate(rows)]
            if number < len(mine):
                with self.accelerator.no_sync(self.wrapped):
                    sums += self._backward(tensors, of_tokens * count, of_units * count)
            else:
                sums += self._backward(tensors, of_tokens * count, of_units * count)
        if self.settings.optimizer.clip_norm is not None:
            self.accelerator.clip_grad_norm_(self.wrapped.parameters(), self.settings.optimizer.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return self.accelerator.reduce(sums, reduction="sum"), rate

    def _backward(self, tensors: Sequence[Tensor], of_tokens: float, of_units: float) -> Tensor:
        likelihood, contrast = self.wrapped(*tensors)
        self.accelerator.backward(likelihood * of_tokens + contrast * of_units)
        return torch.stack([likelihood.detach(), contrast.detach()])

    def _scales(self, micro_batches: Sequence[Sequence[Sequence[int]]]) -> list[tuple[float, float]]:
        """Factors of each micro-batch's two sums in the loss of the update."""
        tokens, units = counts(micro_batches, self.objective.per_sequence)
        if self.settings.objective.averaging is Averaging.micro_batches:
            share = 1 / len(micro_batches)
            return [(share / t, share / max(1, u)) for t, u in zip(tokens, units, strict=True)]
        return [(1 / sum(tokens), 1 / max(1, sum(units)))] * len(micro_batches)

    def state(self) -> dict[str, Any]:
        """What goes on changing: weights, optimizer, and the loss scale of float16."""
        scaler = self.accelerator.scaler
        return {
            "model": self.objective.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": scaler.state_dict() if scaler is not None else None,
        }

    def load(self, state: dict[str, Any], file: Path) -> None:
        """Go on from a state, read from ``file``.

        Raises:
            MagicError: It is of another model, or its weights are no numbers.
        """
        take_weights(self.objective.model, state["model"], file)
        self.optimizer.load_state_dict(state["optimizer"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])


def counts(micro_batches: Sequence[Sequence[Sequence[int]]], per_sequence: bool) -> tuple[list[int], list[int]]:
    """Predicted tokens, and what the contrastive sum is divided by, of each micro-batch."""
    lengths = [torch.tensor([len(row) - 1 for row in rows]) for rows in micro_batches]
    return [int(of.sum()) for of in lengths], [count_units(of, per_sequence=per_sequence) for of in lengths]
