"""run.batch_size=auto: how many texts fit into memory side by side, found by trial.

In float32, MAGIC, contrastive and greedy search write the same texts with every batch size. In 16 bits, and with other methods, the
rounding of a number may depend on the other texts of the batch, and a token with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from magic_cli.models.memory import MemoryMeter

AUTO = "auto"
MOST = {"cuda": 256, "cpu": 64}
"""The most texts side by side, for each kind of device: larger batches are not faster."""
_SHARE = {"cuda": 0.9, "cpu": 0.5}
"""The share of the free memory that may be taken. A CUDA device is measured to the last byte; on a CPU other programs need memory, too."""
_TRIALS = (2, 8)
"""Texts side by side in the first trials, which show how much memory each further text takes."""
_STEP_BACK = 0.75


@dataclass(frozen=True)
class SizeWish:
    """What a worker must know to find the batch size.

    Attributes:
        most: The most texts that a batch can have.
        neighbours: Workers that share the machine's memory, or the device's, this one included.
        known: What an earlier start found; it is used again if everything else is the same.
        options: Settings that change how much memory a text takes, and that a run may change from start to start.
    """

    most: int
    neighbours: int = 1
    known: Mapping[str, Any] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


def choose_batch_size(wish: SizeWish, device: torch.device, trial: Callable[[int], object]) -> dict[str, Any]:
    """How many texts are written side by side, and why, as the manifest says it.

    Args:
        wish: What is asked for.
        device: Where the models are.
        trial: Writes so many texts of full length, side by side.

    Returns:
        ``chosen``, ``device``, and ``bytes_needed`` for each number of texts that was tried. If any was tried, also ``bytes_allowed``,
        and the conditions under which ``chosen`` is valid: the memory's ``name`` and ``bytes_in_all``, and the wish.

    Raises:
        MagicError: The system does not say how much memory a process takes.
    """
    from magic_cli.models.memory import CudaMemory, MachineMemory

    if wish.most == 1:
        return {"chosen": 1, "device": str(device), "bytes_needed": {}}
    kind = "cuda" if device.type == "cuda" else "cpu"
    meter: MemoryMeter = CudaMemory(device) if kind == "cuda" else MachineMemory()
    most = min(MOST[kind], wish.most)
    holds_for = {"device": str(device), **meter.place(), "neighbours": wish.neighbours, "most": most, **wish.options}
    if wish.known is not None and all(wish.known.get(name) == value for name, value in holds_for.items()):
        return dict(wish.known)
    meter.peak(lambda: trial(1))  # what is built at the first use belongs to the models
    each = meter.own() if wish.neighbours > 1 else 0
    allowed = room_for_each(int(meter.available() * _SHARE[kind]), each, wish.neighbours)
    needed: dict[int, int] = {}

    def fits(size: int) -> bool:
        bytes_needed = meter.peak(lambda: trial(size))
        if bytes_needed is not None:
            needed[size] = bytes_needed
        return bytes_needed is not None and bytes_needed <= allowed

    chosen = largest_batch(fits, needed, allowed, most, is_cheap=kind == "cuda")
    return {
        "chosen": chosen,
        **holds_for,
        "bytes_allowed": allowed,
        "bytes_needed": {str(size): needed[size] for size in sorted(needed)},
    }


def room_for_each(free: int, each: int, neighbours: int) -> int:
    """Bytes that each of several workers may take for its texts, as the first one of them reckons: as if the others had loaded nothing.

    If they have encoded captions before, they hold a part of their models already, which ``free`` lacks, and it is subtracted once more:
    batches are then smaller than they could be, never too large.

    Args:
        free: Bytes that may be taken yet, by all of them.
        each: Bytes that a worker takes for its models.
        neighbours: Workers, this one included.

    >>> room_for_each(900, 100, 4)  # three load their models yet
    150
    >>> room_for_each(900, 100, 1)
    900
    """
    return max(0, free - (neighbours - 1) * each) // neighbours


def largest_batch(fits: Callable[[int], bool], needed: Mapping[int, int], allowed: int, most: int, *, is_cheap: bool) -> int:
    """The largest number of texts, 1 to ``most``, that fit into memory.

    Args:
        fits: Tries a number, and writes into ``needed`` how much memory it took, unless memory ran out.
        needed: Bytes for each number that was tried.
        allowed: Bytes that may be taken.
        most: The most texts that are wanted.
        is_cheap: Whether the result itself is tried, too, and a smaller number if it does not fit. If not, it is calculated from the
            first trials alone: on a CPU a large trial takes minutes, and one that does not fit ends the process.
    """
    for size in dict.fromkeys(min(size, most) for size in _TRIALS):
        if not fits(size):
            return _step_back(fits, size)
    size = reckoned(needed, allowed, most)
    return size if not is_cheap or size in needed or fits(size) else _step_back(fits, size)


def reckoned(needed: Mapping[int, int], allowed: int, most: int) -> int:
    """The largest number of texts, 1 to ``most``, calculated from the memory that the largest trial took, and that each further text takes.

    >>> reckoned({2: 30, 8: 90}, 200, 256)
    19
    >>> reckoned({2: 30, 8: 90}, 200, 10)
    10
    >>> reckoned({2: 0, 8: 0}, 200, 256)  # too little to be measured
    256
    """
    smaller, largest = [0, *sorted(needed)][-2:]
    one_more = (needed[largest] - needed.get(smaller, 0)) / (largest - smaller)
    if one_more <= 0:  # memory comes in pieces
        one_more = needed[largest] / largest
    return max(1, min(most, largest + int((allowed - needed[largest]) / one_more))) if one_more > 0 else most


def _step_back(fits: Callable[[int], bool], size: int) -> int:
    """The next smaller number that fits. 1 is not tried: if it does not fit, the run itself says that memory ran out."""
    while size > 1:
        size = max(1, int(size * _STEP_BACK))
        if size == 1 or fits(size):
            break
    return size


def told(found: Mapping[str, Any]) -> str:
    """One line about what ``choose_batch_size`` found.

    >>> told({"chosen": 64, "bytes_allowed": 3 << 30, "bytes_needed": {"2": 10 << 20, "8": 200 << 20}})
    'run.batch_size=auto: 64 side by side (8 take 200 MiB, 3,072 MiB may be taken)'
    """
    line = f"run.batch_size={AUTO}: {found['chosen']} side by side"
    if not found["bytes_needed"]:
        return line
    size, needed = max((int(size), needed) for size, needed in found["bytes_needed"].items())
    return f"{line} ({size} take {needed >> 20:,} MiB, {found['bytes_allowed'] >> 20:,} MiB may be taken)"
