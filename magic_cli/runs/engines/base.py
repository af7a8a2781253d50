"""The contract between a run and the engine that writes its batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, Self

from magic_cli.runs.batches import Batch, BatchResult


class Engine(Protocol):
    """Writes batches in any order; use it as a context manager."""

    def __enter__(self) -> Self:
        """Load the models."""

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """Stop everything that was started."""

    def results(self, batches: Sequence[Batch]) -> Iterator[BatchResult]:
        """Yield exactly one result for each batch, as soon as it is ready."""

    def work(self) -> tuple[dict[str, int], dict[str, float]]:
        """Counts and seconds of the work done, as in ``WorkCounter``."""
