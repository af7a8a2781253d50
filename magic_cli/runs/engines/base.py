"""The contract between a run and the engine that writes its batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, Self

from magic_cli.runs.batches import Batch, BatchResult
from magic_cli.runs.decoder import Facts


class Record(Facts, Protocol):
    """Who keeps what is known of a run: its folder, or the folder of an index."""


class Engine(Protocol):
    """Writes batches in any order; use it as a context manager."""

    def __enter__(self) -> Self:
        """Load the models."""

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """Stop everything that was started."""

    def get_ready(self) -> None:
        """Wait until the models are there, with one worker at least: ``Record`` knows of them then."""

    def batch_size(self, num_items: int, known: Mapping[str, Any] | None) -> dict[str, Any]:
        """How many texts fit side by side, as ``choose_batch_size`` says it; may be asked for once, before ``results``.

        Args:
            num_items: So many texts are to be written.
            known: What an earlier start of the run found.
        """

    def results(self, batches: Sequence[Batch], *, in_order: bool = False) -> Iterator[BatchResult]:
        """Yield exactly one result for each batch, as soon as it is ready.

        Args:
            batches: None has more items than the first. They are asked for when it is their turn, and not kept.
            in_order: Yield the results in the order of the batches. A bounded number of them wait in memory for an earlier one:
                behind a batch that takes very long, the other workers pause.
        """

    def work(self) -> tuple[dict[str, int], dict[str, float]]:
        """Counts and seconds of the work done, as in ``WorkCounter``."""
