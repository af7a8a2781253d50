"""Peak resident memory. Each side runs in its own process (Linux only)."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

from magic_cli.benchmark.comparison import Step
from magic_cli.benchmark.settings import BenchSettings
from magic_cli.errors import MagicError

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # resets the peak, see proc(5)


def steps_of_memory(settings: BenchSettings) -> int:
    """How often ``measure_memory`` calls ``step``."""
    return 2


def measure_memory(settings: BenchSettings, step: Step) -> dict[str, Any]:
    """Resident memory before and during decoding: the core at ``run.batch_size``, the released algorithm at 1.

    Raises:
        MagicError: The system does not report memory, or a child was killed.
    """
    if not _RESET.exists():
        raise MagicError("memory can be measured on Linux only; leave memory out of parts")
    rows = []
    for side, batch_size in (("released", 1), ("core", settings.run.batch_size)):
        context = multiprocessing.get_context("spawn")  # a forked process would start with this process's memory
        try:
            with ProcessPoolExecutor(1, mp_context=context) as child:
                measured = child.submit(decode_once, side, batch_size, settings).result()
        except BrokenProcessPool as error:
            raise MagicError(
                f"memory of {side} at batch size {batch_size}: its process was killed; lower run.batch_size"
            ) from error
        rows.append({"side": side, "batch_size": batch_size, **measured})
        step()
    return {"rows": rows}


def decode_once(side: str, batch_size: int, settings: BenchSettings) -> dict[str, int]:
    """Decode one batch in this process; returns the resident bytes before it and the peak during it."""
    import torch

    from magic_cli.benchmark.workloads import build_captions

    if settings.run.threads is not None:
        torch.set_num_threads(settings.run.threads)
    workload = build_captions(replace(settings, texts=batch_size, batch_sizes=[batch_size], checked_texts=1), "natural")
    return_free_memory()
    _RESET.write_text(_RESET_PEAK)
    before = _resident("VmRSS")
    if side == "released":
        workload.decode_released(0, lean=False)
    else:
        workload.decode(batch_size)
    return {"before_bytes": before, "peak_bytes": _resident("VmHWM")}


def return_free_memory() -> None:
    """Return memory of earlier parts and of building models to the system, so that it does not distort the next measurement."""
    gc.collect()
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "malloc_trim"):  # glibc only
        library.malloc_trim(0)


def _resident(name: str) -> int:
    """A value of /proc/self/status in bytes."""
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024
