"""How many processor cores this process may use: those that it is bound to, and the quota of its container or batch job (Linux)."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_OWN_GROUPS, _ALL_GROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """Cores that this process may use, at least 1. A quota of one and a half counts as two."""
    return max(1, min([bound_cores(), *map(math.ceil, _quotas())]))


def bound_cores() -> int:
    """Cores that this process is bound to, as by ``taskset``; by default all of the machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quotas() -> Iterator[float]:
    """The quotas of this process's control group, and of those that hold it, in cores; see cgroups(7)."""
    for line in _text(_OWN_GROUPS).splitlines():
        _, controllers, place = line.split(":", 2)
        own = PurePosixPath(place.lstrip("/"))
        for group in (own, *own.parents):  # in a container, the path may be that of the host; its own group is then the topmost
            if not controllers:  # of the second version
                quota, period = [*_words(_ALL_GROUPS / group / "cpu.max"), "max", "1"][:2]
            elif "cpu" in controllers.split(","):
                folder = _ALL_GROUPS / controllers / group
                [quota], [period] = _words(folder / "cpu.cfs_quota_us") or ["-1"], _words(folder / "cpu.cfs_period_us") or ["1"]
            else:
                continue
            if quota.isdecimal():  # else "max" or -1: there is none
                yield int(quota) / int(period)


def _words(file: Path) -> list[str]:
    return _text(file).split()


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="surrogateescape")
    except OSError:  # another system, or a group that is not shown here: it sets no quota
        return ""
