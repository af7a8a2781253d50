"""The order of what a run writes: that of its batches, whoever was first to be done.

``batches`` are the ids of each batch's items; they can be gone through several times.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

Batches = Iterable[Iterable[str]]
_LAST = 1 << 62
"""The place of what nobody asks for."""


def arranged_ids(ids: Collection[str], batches: Batches) -> list[str]:
    """Ids in the order of the items; others stand behind them."""
    place = _places(ids, batches)
    return sorted(ids, key=lambda item: place.get(item, _LAST))


def arranged_failures(failures: Sequence[dict[str, Any]], batches: Batches) -> list[dict[str, Any]]:
    """Lines of failures.jsonl in the order of the items; those of no batch stand before them."""
    if not failures:
        return []
    place = _places({record["id"] for record in failures}, batches)
    return sorted(failures, key=lambda record: place.get(record["id"], -1))


def are_arranged(traces: Collection[str], batches: Batches) -> bool:
    """Whether items with a trace stand in the order of their batches, within which steps lie between one another."""
    if not traces:
        return True
    number = _numbers(traces, batches)
    of_traces = [number.get(item, _LAST) for item in traces]
    return of_traces == sorted(of_traces)


def arranged_steps(steps: Iterable[Mapping[str, Any]], batches: Batches) -> list[Mapping[str, Any]]:
    """Lines of trace.jsonl in the order of the batches."""
    steps = list(steps)
    number = _numbers({step["id"] for step in steps}, batches)
    return sorted(steps, key=lambda step: number.get(step["id"], _LAST))


def _places(ids: Container[str], batches: Batches) -> dict[str, int]:
    return {item: place for place, item in enumerate(chain.from_iterable(batches)) if item in ids}


def _numbers(ids: Container[str], batches: Batches) -> dict[str, int]:
    return {item: number for number, batch in enumerate(batches) for item in batch if item in ids}
