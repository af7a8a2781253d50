"""How the threads of numeric libraries wait for each other."""

from __future__ import annotations

import os

_SPINS = "10000"
"""Rounds of a few nanoseconds each: longer than the gap between two small matrix products, shorter than a time slice."""


def wait_briefly() -> None:
    """Let waiting threads spin for microseconds and then sleep. Call it before torch is imported, when libgomp reads the setting.

    By default libgomp spins for milliseconds. That takes the processor from other programs and from its own threads: beside two
    busy programs, two spinning threads are slower than one thread. If the user has set ``OMP_WAIT_POLICY`` or
    ``GOMP_SPINCOUNT``, nothing is changed.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)
