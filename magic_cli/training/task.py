"""The task of a training run, as the loop sees it. Updates, measurements and checkpoints are the same for every task."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import nn

    from magic_cli.training.settings import Averaging, OptimizerSettings, TrainingRunSettings, ValidateSettings

Batch = Sequence[Any]
"""Samples of a micro-batch, in the task's own form."""


class TrainingSettings(Protocol):
    """The parts of a command's settings that the loop reads."""

    @property
    def optimizer(self) -> OptimizerSettings:
        """The optimizer."""

    @property
    def validate(self) -> ValidateSettings:
        """When it is measured."""

    @property
    def run(self) -> TrainingRunSettings:
        """Where and how the run is carried out."""

    @property
    def averaging(self) -> Averaging:
        """How the micro-batches of one update are averaged."""


class Task(Protocol):
    """An objective of L losses, each a sum with its own divisor, and the data for it."""

    num_samples: int
    """The training samples."""

    @property
    def weights(self) -> Sequence[float]:
        """(L,) the weight of each loss's mean in the total."""

    @property
    def module(self) -> nn.Module:
        """Takes the tensors of a micro-batch, returns a tuple of L sums; ``accelerate`` wraps it."""

    def groups(self) -> list[dict[str, Any]]:
        """The trained parameters, in the form of the optimizer; an optional ``factor`` multiplies their learning rate."""

    def micro_batches(self, update: int) -> Sequence[Batch]:
        """The samples of an update (counted from 0): a function of the seed and this number."""

    def tensors(self, batch: Batch) -> list[Any]:
        """The arguments of the module for a micro-batch; may draw random numbers."""

    def counts(self, batch: Batch) -> tuple[int, ...]:
        """(L,) the divisors of the sums."""

    def size(self, batch: Batch) -> tuple[int, int]:
        """The tokens of a micro-batch, and the cells that they take with padding."""

    def line(self, sums: Sequence[float], counts: Sequence[int]) -> dict[str, float]:
        """A line for metrics.jsonl: ``loss`` and other numbers about the training."""

    def note(self, line: dict[str, float]) -> str:
        """The same in a few words, for the progress bar."""

    def measure(self) -> dict[str, float]:
        """The ``loss`` on the validation samples, which chooses the best checkpoint, and other numbers with it.

        Empty if there are no such samples; then the last checkpoint is the result.
        """

    def state(self) -> dict[str, Any]:
        """The weights that training changes."""

    def take(self, weights: dict[str, Any], file: Path) -> None:
        """Continue from these weights, which were read from ``file``.

        Raises:
            MagicError: They belong to another model, or are not finite.
        """
