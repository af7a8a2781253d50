"""One update of the weights: micro-batches forward and backward, clipped gradient, AdamW, learning rate."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from magic_cli.training.settings import Averaging, OptimizerSettings, Shape
from magic_cli.training.task import Batch, Task, TrainingSettings

if TYPE_CHECKING:
    from accelerate import Accelerator


def rate_factor(step: int, total: int, settings: OptimizerSettings) -> float:
    """Share of the highest learning rate at a step (from 0), in [0, 1]. With warm-up it is 0 at step 0, as in transformers.

    >>> [round(rate_factor(step, 10, OptimizerSettings(warmup=0.2)), 3) for step in (0, 1, 2, 6, 9)]
    [0.0, 0.5, 1.0, 0.5, 0.125]
    """
    warmup = settings.warmup_of(total)
    if step < warmup:
        return step / warmup
    done = (step - warmup) / max(1, total - warmup)
    falling = {Shape.linear: 1 - done, Shape.cosine: (1 + math.cos(math.pi * done)) / 2, Shape.constant: 1.0}[settings.shape]
    return settings.floor + (1 - settings.floor) * falling


def draw_seed(seed: int, step: int, part: int) -> int:
    """Seed of what one micro-batch of one update draws, such as dropout: the same whatever ran before it, and in whichever process."""
    digest = hashlib.sha256(f"{seed} {step} {part}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


class Updater:
    """The task, its optimizer and their device.

    Args:
        task: The task.
        settings: Settings of the command.
        accelerator: Places model and data, and averages gradients over processes.
        total: Updates of the whole run.
    """

    def __init__(self, task: Task, settings: TrainingSettings, accelerator: Accelerator, total: int) -> None:
        self.task, self.settings, self.accelerator, self.total = task, settings, accelerator, total
        options = settings.optimizer
        optimizer = torch.optim.AdamW(
            task.groups(), lr=options.lr, betas=(options.beta1, options.beta2), eps=options.eps, weight_decay=options.weight_decay,
            fused=True,
        )  # fmt: skip
        self.wrapped, self.optimizer = accelerator.prepare(task.module.train(), optimizer)

    def update(self, step: int, micro_batches: Sequence[Batch]) -> tuple[Tensor, float]:
        """Do one update with the micro-batches of all processes; this process works on its share.

        Returns:
            Sums of the losses over all processes, (L,), and the learning rate.
        """
        rank, count = self.accelerator.process_index, self.accelerator.num_processes
        rate = self.settings.optimizer.lr * rate_factor(step, self.total, self.settings.optimizer)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("factor", 1)
        scales = self._scales(micro_batches)
        mine = list(enumerate(zip(micro_batches, scales, strict=True)))[rank::count]
        sums = torch.zeros(len(self.task.weights), device=self.accelerator.device)
        for number, (part, (batch, of_sums)) in enumerate(mine, start=1):
            torch.manual_seed(draw_seed(self.settings.run.seed, step, part))
            tensors = [tensor.to(self.accelerator.device) for tensor in self.task.tensors(batch)]
            of_mine = [scale * count for scale in of_sums]
            if number < len(mine):
                with self.accelerator.no_sync(self.wrapped):
                    sums += self._backward(tensors, of_mine)
            else:
                sums += self._backward(tensors, of_mine)
        if self.settings.optimizer.clip_norm is not None:
            self.accelerator.clip_grad_norm_(self.wrapped.parameters(), self.settings.optimizer.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return self.accelerator.reduce(sums, reduction="sum"), rate

    def _backward(self, tensors: Sequence[Tensor], scales: Sequence[float]) -> Tensor:
        losses = self.wrapped(*tensors)
        self.accelerator.backward(sum(loss * scale for loss, scale in zip(losses, scales, strict=True)))
        return torch.stack([loss.detach() for loss in losses])

    def _scales(self, micro_batches: Sequence[Batch]) -> list[tuple[float, ...]]:
        """The factors of each micro-batch's L sums in the loss of the update."""
        counts, weights = [self.task.counts(batch) for batch in micro_batches], self.task.weights
        if self.settings.averaging is Averaging.micro_batches:
            share = 1 / len(micro_batches)
            return [tuple(weight * share / max(1, of) for weight, of in zip(weights, each, strict=True)) for each in counts]
        whole = tuple(weight / max(1, sum(of)) for weight, of in zip(weights, zip(*counts, strict=True), strict=True))
        return [whole] * len(micro_batches)

    def state(self) -> dict[str, Any]:
        """Everything that changes: weights, optimizer, and the loss scale of float16."""
        scaler = self.accelerator.scaler
        return {
            "model": self.task.state(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": scaler.state_dict() if scaler is not None else None,
        }

    def load(self, state: dict[str, Any], file: Path) -> None:
        """Continue from a state that was read from ``file``.

        Raises:
            MagicError: It belongs to another model, or its weights are not finite.
        """
        self.task.take(state["model"], file)
        self.optimizer.load_state_dict(state["optimizer"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
