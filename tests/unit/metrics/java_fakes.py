"""For the Java tests: commands that pose as a bad Java, and the processes that are left behind."""

import os
import sys
import time
from pathlib import Path


def make_java(home: Path, body: str = "", version: str = "17.0.1") -> str:
    """A Java installation whose ``java`` is a Python script that does ``body``; returns its folder."""
    command = home / "bin" / "java"
    command.parent.mkdir(parents=True)
    answer = f"if '-version' in sys.argv:\n    sys.exit(print('openjdk version \"{version}\"', file=sys.stderr))"
    command.write_text(f"#!{sys.executable}\nimport os, subprocess, sys, time\n{answer if version else ''}\n{body}\n")
    command.chmod(0o755)
    return str(home)


def children_of(parent: int, word: str = "") -> set[int]:
    """Processes that ``parent`` started and has not reaped, zombies included, whose command line holds ``word``; without the one that
    Python's multiprocessing starts at its first use of shared memory and keeps until ``parent`` ends."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue  # it has ended meanwhile
        if int(fields[1]) == parent and word.encode() in command and b"multiprocessing.resource_tracker" not in command:
            found.add(int(folder.name))
    return found


def is_running(process: int) -> bool:
    """Whether a process lives, zombies left out."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition, seconds: float = 120.0):
    """What ``condition`` returns, as soon as it is true; the limit is for what never becomes true, not for a slow machine."""
    limit = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.02)
    return value


def wait_for_child(parent: int | None = None) -> int:
    """The first child that ``parent`` (this process if None) has."""
    return min(wait_until(lambda: children_of(parent or os.getpid())))
