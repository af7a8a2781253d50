"""How many threads numeric libraries start, and how these wait for each other."""

from __future__ import annotations

import os

from magic_cli.models.control_groups import bound_cores, usable_cores

_NUMBERS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_THREAD_LIMIT")
"""Variables by which users set the number of threads."""
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


def obey_quota() -> None:
    """Start no more threads than the container or batch job may run side by side. Call it before torch is imported.

    The libraries know which cores a process is bound to, but no quota: with one of 2 cores on a machine of 64 they would start 64
    threads, which then stand still for most of the time. If the user has set a number of threads, nothing is changed.
    """
    cores = usable_cores()
    if cores < bound_cores() and not any(name in os.environ for name in _NUMBERS):
        os.environ["OMP_NUM_THREADS"] = str(cores)
