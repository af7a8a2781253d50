"""How the threads of numeric libraries wait for one another."""

from __future__ import annotations

import os

_SPINS = "10000"
"""Rounds of a few nanoseconds each: longer than from one small product to the next, shorter than a time slice."""


def wait_briefly() -> None:
    """Let waiting threads spin for microseconds, then sleep; to be called before torch is imported, which is when libgomp looks.

    By itself libgomp spins for milliseconds, which takes the processor from whoever could use it, our own threads
    included: beside two busy programs, two spinning threads take longer than one. Who has set ``OMP_WAIT_POLICY`` or
    ``GOMP_SPINCOUNT`` is left alone.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)
