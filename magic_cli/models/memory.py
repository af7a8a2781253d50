"""How much memory a piece of work takes, and how much there is: of a CUDA device, or of this machine (Linux)."""

from __future__ import annotations

import ctypes
import gc
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from magic_cli.errors import MagicError
from magic_cli.models.control_groups import memory_limits

if TYPE_CHECKING:
    import torch

_STATUS, _RESET, _MACHINE = Path("/proc/self/status"), Path("/proc/self/clear_refs"), Path("/proc/meminfo")
_CUDA_CONTEXT = 600 << 20
"""What a process takes of a device before its first tensor: some 500 MiB on data centre cards. torch does not count it."""
_RESET_PEAK = "5"  # the kernel's word for it, see proc(5)


class MemoryMeter(Protocol):
    """Measures on one device."""

    def place(self) -> dict[str, Any]:
        """What the memory belongs to: ``name``, and ``bytes_in_all``."""

    def available(self) -> int:
        """Bytes that nobody uses now."""

    def own(self) -> int:
        """Bytes that this process has taken and shares with nobody: what another one with the same models takes, too."""

    def peak(self, work: Callable[[], object]) -> int | None:
        """Bytes that a piece of work takes at most, beside those in use before it; None: there were not so many, and it was given up."""


class CudaMemory:
    """Of a CUDA device, as torch's allocator has it, its gaps included."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def place(self) -> dict[str, Any]:
        import torch

        facts = torch.cuda.get_device_properties(self._device)
        return {"name": facts.name, "bytes_in_all": facts.total_memory}

    def available(self) -> int:
        import torch

        torch.cuda.empty_cache()
        return torch.cuda.mem_get_info(self._device)[0]

    def own(self) -> int:
        import torch

        torch.cuda.empty_cache()
        return torch.cuda.memory_reserved(self._device) + _CUDA_CONTEXT

    def peak(self, work: Callable[[], object]) -> int | None:
        import torch

        gc.collect()
        torch.cuda.empty_cache()
        before = torch.cuda.memory_reserved(self._device)
        torch.cuda.reset_peak_memory_stats(self._device)
        try:
            work()
            torch.cuda.synchronize(self._device)
            return torch.cuda.max_memory_reserved(self._device) - before
        except torch.cuda.OutOfMemoryError:
            return None
        finally:  # a batch that was given up hangs on the error's frames until here
            gc.collect()
            torch.cuda.empty_cache()


class MachineMemory:
    """Of the machine, or of the container or batch job that this process is in.

    Raises:
        MagicError: The system does not say.
    """

    def __init__(self) -> None:
        if not can_measure():
            raise MagicError("run.batch_size=auto: the memory of a CPU can be measured on Linux only; give a number")

    def place(self) -> dict[str, Any]:
        limits = [most for most, _ in memory_limits()]
        return {"name": platform.machine(), "bytes_in_all": min([_figure(_MACHINE, "MemTotal"), *limits])}

    def available(self) -> int:
        room = [_figure(_MACHINE, "MemAvailable"), *(most - used for most, used in memory_limits())]
        return max(0, min(room))

    def own(self) -> int:
        return_free_memory()
        return resident("RssAnon")  # programs and files that are mapped are there once for all processes

    def peak(self, work: Callable[[], object]) -> int:
        return_free_memory()
        reset_peak()
        before = resident("VmRSS")
        work()
        return resident("VmHWM") - before


def can_measure() -> bool:
    """Whether the system says how much memory this process takes at most."""
    return _RESET.exists()


def reset_peak() -> None:
    """Let ``resident("VmHWM")`` begin anew."""
    _RESET.write_text(_RESET_PEAK)


def return_free_memory() -> None:
    """Give back what building models or an earlier part left behind, so that what comes next does not find it."""
    gc.collect()
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "malloc_trim"):  # of glibc
        library.malloc_trim(0)


def resident(name: str) -> int:
    """Bytes of this process that are in memory: ``VmRSS`` now, ``RssAnon`` those of them that are no file's, ``VmHWM`` at most."""
    return _figure(_STATUS, name)


def _figure(file: Path, name: str) -> int:
    """A figure of the kernel's, in bytes."""
    line = next(line for line in file.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024
