"""What of the machine's cores and memory this process may use: by its container, its batch job, or taskset (Linux; see cgroups(7))."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_OWN_GROUPS, _ALL_GROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
_MEMORY = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))
"""Files that hold a limit and what is used of it, in the second and the first version of control groups."""


def usable_cores() -> int:
    """Cores that this process may use, at least 1. A quota of one and a half counts as two."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([bound, *map(math.ceil, _quotas())]))


def memory_limits() -> Iterator[tuple[int, int]]:
    """The limits of memory that this process is under, each with what all processes under it use; in bytes."""
    for group in _groups("memory"):
        for limit, used in _MEMORY:
            most, now = (_text(group / name).strip() for name in (limit, used))
            if most.isdecimal() and now.isdecimal():  # else there are no such files, or no limit ("max")
                yield int(most), int(now)


def _quotas() -> Iterator[float]:
    """The quotas that this process is under, in cores."""
    for group in _groups("cpu"):
        both = _text(group / "cpu.max") or f"{_text(group / 'cpu.cfs_quota_us')} {_text(group / 'cpu.cfs_period_us')}"
        quota, period = [*both.split(), "", ""][:2]
        if quota.isdecimal() and period.isdecimal():  # else there are no such files, or no quota ("max", -1)
            yield int(quota) / int(period)


def _groups(controller: str) -> Iterator[Path]:
    """The folders of this process's control group and of those that hold it; some may not be shown here."""
    for line in _text(_OWN_GROUPS).splitlines():
        _, controllers, place = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        own = PurePosixPath(place.lstrip("/"))
        # the second version has one tree for all controllers, without a name; a tree for several may be called "cpu,cpuacct" where
        # the kernel writes "cpuacct,cpu", and then has links named after each of them
        names = (controllers, controller) if controllers else ("",)
        tree = next((tree for name in names if (tree := _ALL_GROUPS / name).is_dir()), _ALL_GROUPS)
        for group in (own, *own.parents):  # in a container, the path may be that of the host; its own group is then the topmost
            yield tree / group


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="surrogateescape")
    except OSError:  # another system, or a group that is not shown here: it limits nothing
        return ""
