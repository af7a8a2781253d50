"""Counts of the work done and seconds spent, by phase: for manifests, benches and tests that count work, not time."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class WorkCounter:
    """Adds up named counts and the seconds of named phases.

    Attributes:
        counts: ``{name: number}``, e.g. ``lm_positions``, ``head_rows``, ``texts_encoded``, ``text_tokens``.
        seconds: ``{phase: wall seconds}``. On a GPU these are times of the calls, not of the kernels.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def add(self, name: str, number: int) -> None:
        """Add ``number`` to the count ``name``."""
        self.counts[name] += number

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the wall time of the block to the phase ``name``."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - start
