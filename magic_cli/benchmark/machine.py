"""Describes the machine that measures, and how busy it is with other programs."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import torch

_BUSY_LOAD = 0.5
_PROC = Path("/proc")


def describe_machine(device: str) -> dict[str, Any]:
    """For the report: processor, cores, torch's threads and related settings; ``device`` is the device of the models."""
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),
        "gomp_spincount": os.environ.get("GOMP_SPINCOUNT"),  # set by the command line, unless the user has set either
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "load_average": os.getloadavg()[0],
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else device,
    }


def cpu_model() -> str:
    """The processor's name, from the kernel."""
    file = _PROC / "cpuinfo"
    lines = file.read_text().splitlines() if file.exists() else []
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor() or "unknown"
    )


def warn_if_busy(tell: Callable[[str], None]) -> None:
    """Warn if other programs are running, or if waiting threads would use the processor: both make times too long.

    Args:
        tell: Called with one line.
    """
    load = os.getloadavg()[0]
    if load > _BUSY_LOAD:
        tell(f"the machine is busy (load {load:.2f}): times will be too long; wait until it is idle")
    policy = os.environ.get("OMP_WAIT_POLICY", "passive")
    if policy.lower() != "passive" and (os.cpu_count() or 1) > 1:
        tell(f"OMP_WAIT_POLICY={policy}: waiting threads take processor time from other programs and from each other; unset it")


class Disturbance:
    """Measures how much of the processor other programs use during a block (Linux only).

    Attributes:
        share: Share of the time of all cores, in [0, 1]; None if unknown. Set when the block ends.
    """

    share: float | None = None

    def __enter__(self) -> Self:
        self._start = self._now()
        return self

    def __exit__(self, *error: object) -> None:
        end = self._now()
        if self._start is None or end is None:
            return
        busy, own, wall = (after - before for after, before in zip(end, self._start, strict=True))
        self.share = max(0.0, busy - own) / max(wall * (os.cpu_count() or 1), 1e-9)

    @staticmethod
    def _now() -> tuple[float, float, float] | None:
        """Seconds of processor time used by all programs, by this process, and the clock."""
        file = _PROC / "stat"
        if not file.exists():
            return None
        user, nice, system, _idle, _wait, irq, softirq, steal, *_ = map(int, file.read_text().split("\n", 1)[0].split()[1:])
        busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
        return busy, time.process_time(), time.perf_counter()


def tell(note: str) -> None:
    """Print a line on stderr."""
    print(f"magic: {note}", file=sys.stderr)
