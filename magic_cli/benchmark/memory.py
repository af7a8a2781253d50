"""Peak memory. Each side runs in its own process: the memory of the GPU if models run on one, else resident memory (Linux only)."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from typing import Any

from magic_cli.benchmark.comparison import Step
from magic_cli.benchmark.settings import BenchSettings
from magic_cli.errors import MagicError
from magic_cli.models.loading import resolve_device
from magic_cli.models.memory import can_measure, reset_peak, resident, return_free_memory


def steps_of_memory(settings: BenchSettings) -> int:
    """How often ``measure_memory`` calls ``step``."""
    return 2


def measure_memory(settings: BenchSettings, step: Step) -> dict[str, Any]:
    """Memory before and during decoding: the core at ``run.batch_size``, the released algorithm at 1.

    Raises:
        MagicError: The system does not report memory, or a child was killed.
    """
    device = resolve_device(settings.run.device).type
    if device == "cpu" and not can_measure():
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
    return {"device": device, "rows": rows}


def decode_once(side: str, batch_size: int, settings: BenchSettings) -> dict[str, int]:
    """Decode one batch in this process; returns the bytes in use before it and the peak during it."""
    import torch

    from magic_cli.benchmark.workloads import build_captions
    from magic_cli.models.threads import use_threads

    use_threads(settings.run.threads)
    workload = build_captions(replace(settings, texts=batch_size, batch_sizes=[batch_size], checked_texts=1), "natural")
    decode = (lambda: workload.decode_released(0, lean=False)) if side == "released" else (lambda: workload.decode(batch_size))
    if workload.model.network.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        decode()
        return {"before_bytes": before, "peak_bytes": torch.cuda.max_memory_allocated()}
    return_free_memory()
    reset_peak()
    before = resident("VmRSS")
    decode()
    return {"before_bytes": before, "peak_bytes": resident("VmHWM")}
