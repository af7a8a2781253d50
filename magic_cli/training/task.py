"""What is trained, as the loop sees it: updates, measurements and checkpoints are the same for every objective."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import nn

    from magic_cli.training.settings import Averaging, OptimizerSettings, TrainingRunSettings, ValidateSettings

Batch = Sequence[Any]
"""Samples of a micro-batch, in whatever form the task has them."""


class TrainingSettings(Protocol):
    """What the loop reads of a command's settings."""

    optimizer: OptimizerSettings
    validate: ValidateSettings
    run: TrainingRunSettings

    @property
    def averaging(self) -> Averaging:
        """How micro-batches of one update are averaged."""


class Task(Protocol):
    """An objective of L losses, each a sum over what it counts, and the data for it."""

    module: nn.Module
    """Tensors of a micro-batch in, a tuple of L sums out; ``accelerate`` wraps it."""
    num_samples: int
    """For training."""
    weights: Sequence[float]
    """(L,) of each loss's mean in what is minimised."""

    def groups(self) -> list[dict[str, Any]]:
        """Parameters that are trained, as the optimizer takes them; ``factor``, if there, multiplies their learning rate."""

    def micro_batches(self, update: int) -> list[Batch]:
        """The samples of an update counted from 0: a function of the seed and this number."""

    def tensors(self, batch: Batch) -> list[Any]:
        """What the module takes; may draw random numbers."""

    def counts(self, batch: Batch) -> tuple[int, ...]:
        """(L,) what the sums are divided by."""

    def size(self, batch: Batch) -> tuple[int, int]:
        """Tokens of a micro-batch, and cells that they take with padding."""

    def line(self, sums: Sequence[float], counts: Sequence[int]) -> dict[str, float]:
        """For metrics.jsonl: ``loss`` and whatever else tells how training goes."""

    def note(self, line: dict[str, float]) -> str:
        """The same in a few words, for the progress bar."""

    def measure(self) -> dict[str, float]:
        """The validation samples' ``loss``, by which the best checkpoint is chosen, and whatever else belongs to it.

        Empty if there are no such samples; the last checkpoint is then the one that counts.
        """

    def state(self) -> dict[str, Any]:
        """Weights that training changes."""

    def take(self, weights: dict[str, Any], file: Path) -> None:
        """Go on from such weights, read from ``file``.

        Raises:
            MagicError: They are of another model, or no numbers.
        """
