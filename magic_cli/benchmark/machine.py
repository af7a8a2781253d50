"""The machine that measures: what it is, and who else is using it."""

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
    """Processor, cores, torch's threads and what bears on them, for the report; ``device`` is where models run."""
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "load_average": os.getloadavg()[0],
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else device,
    }


def cpu_model() -> str:
    """The processor's name, as the kernel gives it."""
    file = _PROC / "cpuinfo"
    lines = file.read_text().splitlines() if file.exists() else []
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor() or "unknown"
    )


def warn_if_busy(tell: Callable[[str], None]) -> None:
    """Say so when other programs are running: two-thread torch is many times slower beside them.

    Args:
        tell: Is given one line.
    """
    load = os.getloadavg()[0]
    if load > _BUSY_LOAD:
        tell(f"the machine is busy (load {load:.2f}): times will be too long; wait until it is idle")
    if os.environ.get("OMP_WAIT_POLICY", "").lower() != "passive" and (os.cpu_count() or 1) > 1:
        tell("OMP_WAIT_POLICY=passive is not set: if another program runs, waiting threads will take its processor time and ours")


class Disturbance:
    """How much of the processor other programs used during a block (Linux only).

    Attributes:
        share: Of all cores' time, in [0, 1]; None where it cannot be known. Set when the block ends.
    """

    share: float | None = None

    def __enter__(self) -> Self:
        self._start = self._now()
        return self

    def __exit__(self, *error: object) -> None:
        if self._start is None:
            return
        busy, own, wall = (after - before for after, before in zip(self._now(), self._start, strict=True))
        self.share = max(0.0, busy - own) / max(wall * (os.cpu_count() or 1), 1e-9)

    @staticmethod
    def _now() -> tuple[float, float, float] | None:
        """Seconds of processor time used by all, by this process, and the clock."""
        file = _PROC / "stat"
        if not file.exists():
            return None
        user, nice, system, _idle, _wait, irq, softirq, steal, *_ = map(int, file.read_text().split("\n", 1)[0].split()[1:])
        busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
        return busy, time.process_time(), time.perf_counter()


def tell(note: str) -> None:
    """A line on stderr."""
    print(f"magic: {note}", file=sys.stderr)
