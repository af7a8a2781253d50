"""How many threads the numeric libraries start for the models."""

from __future__ import annotations

import os

from magic_cli.models.control_groups import usable_cores

_NUMBERS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables by which users set the number of threads."""


def threads_to_start(wanted: int | None, usual: int) -> int:
    """The number of threads for a library.

    The libraries know which cores a process is bound to, but no quota of a container or batch job: with one of 2 cores on a machine
    of 64 they would start dozens of threads, which then stand still for most of the time.

    Args:
        wanted: ``run.threads``.
        usual: How many the library starts by itself; never more, because it may know better, as torch knows the physical cores.
    """
    if wanted is not None:
        return wanted
    if any(name in os.environ for name in _NUMBERS):
        return usual
    return min(usual, usable_cores())


def use_threads(wanted: int | None) -> int:
    """Let torch compute with ``threads_to_start`` threads from now on, and return their number. Call it before models are loaded."""
    import torch

    usual = torch.get_num_threads()
    threads = threads_to_start(wanted, usual)
    if wanted is not None or threads != usual:
        torch.set_num_threads(threads)
    return threads
