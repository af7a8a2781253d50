"""A command in a forked process, which is killed at a moment that was drawn.

Forked, because a process that has torch, transformers and Hydra loaded already starts a command in a fraction of a second.
What a kill can meet depends on where it comes: changes to files are counted by an audit hook of Python's, so that a kill can
also come right before the n-th change, or while it is made.
"""

import contextlib
import ctypes
import gc
import importlib
import os
import random
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

SECONDS = 600.0
"""After which a start that has not ended is taken for one that never will."""
GONE_SECONDS = 20.0
"""Within which the processes of a killed command must be gone."""
_CHANGES = {"os.rename", "os.remove", "os.truncate", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "sqlite3.connect"}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_WITH_THREADS = ("ray", "pyarrow")
"""Packages that start threads when they are imported."""
_PARENT_OF_ORPHANS = 36  # PR_SET_CHILD_SUBREAPER of Linux


@dataclass(frozen=True)
class Aim:
    """When a start is killed, and what of it.

    Attributes:
        change: Kill right before this change to a file (the first is 1); None: not so.
        after: Kill once so many changes were begun, and ``seconds`` have passed; 1: so long after the first.
        seconds: See ``after``.
        with_workers: Kill its whole process group, not only the process that was started.
    """

    change: int | None = None
    after: int = 1
    seconds: float = 0.0
    with_workers: bool = False


@dataclass(frozen=True)
class Ending:
    """How a start ended.

    Attributes:
        status: Exit status, or minus the signal that ended it.
        changes: Changes to files that were begun.
        seconds: From the first change to the end.
    """

    status: int
    changes: int
    seconds: float

    @property
    def was_killed(self) -> bool:
        return self.status == -signal.SIGKILL


class Hung(Exception):
    """A start did not end by itself."""


def draw(rng: random.Random, whole: Ending) -> Aim:
    """A moment between the first change to a file and the end of an undisturbed start: any moment, or one at a change."""
    with_workers, change = rng.random() < 0.5, rng.randint(1, whole.changes)
    kind = rng.choice(("clock", "clock", "before", "after"))
    if kind == "clock":
        return Aim(seconds=rng.uniform(0, whole.seconds), with_workers=with_workers)
    if kind == "before":
        return Aim(change=change, with_workers=with_workers)
    return Aim(after=change, seconds=rng.uniform(0, 0.003), with_workers=with_workers)


def adopt_orphans() -> None:
    """Make this process the parent of its children's children when theirs are killed, so that it knows when all are gone."""
    if ctypes.CDLL(None).prctl(_PARENT_OF_ORPHANS, 1, 0, 0, 0):
        sys.exit("this needs Linux: prctl(PR_SET_CHILD_SUBREAPER) failed")


def load(modules: Sequence[str]) -> None:
    """Import modules here, so that no forked process has to; the process must still have one thread then, or forks could hang."""
    for package in _WITH_THREADS:  # whoever imports one of them fails, and is imported by those who need it
        sys.modules[package] = None
    for name in modules:
        if name not in sys.modules and name.partition(".")[0] not in _WITH_THREADS:
            with contextlib.suppress(Exception):  # some cannot be imported alone; who needs them does it
                importlib.import_module(name)
    for package in _WITH_THREADS:
        del sys.modules[package]
    gc.collect()
    gc.freeze()
    if (threads := len(os.listdir("/proc/self/task"))) > 1:
        raise RuntimeError(f"a module has started {threads - 1} threads; processes with threads must not be forked")


def start(words: Sequence[str], folder: Path, aim: Aim | None = None, *, modules: Path | None = None) -> Ending:
    """Run ``magic`` in a folder, to its end or until it is killed.

    Args:
        words: Of the command line.
        folder: Its working folder; what it prints goes to FOLDER.out (only the last start) and FOLDER.err beside it.
        aim: When it is killed; None: not at all.
        modules: Where a start that ends by itself writes the names of what it has imported.

    Raises:
        Hung: It did not end. It is killed.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _live(words, folder, writing, aim, modules)
    os.close(writing)
    handle = os.pidfd_open(pid)
    try:
        return _watch(pid, handle, reading, aim)
    finally:
        os.close(handle)
        os.close(reading)


def _live(words: Sequence[str], folder: Path, pipe: int, aim: Aim | None, modules: Path | None) -> None:
    """The life of the forked process; never returns."""
    status = 99
    try:
        os.setpgrp()
        os.chdir(folder)
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        for number, name, mode in ((1, "stdout", "w"), (2, "stderr", "a")):
            stream = open(f"{folder}.{name[3:]}", mode, 1 if number == 2 else -1, encoding="utf-8")  # noqa: SIM115 - open to the end
            os.dup2(stream.fileno(), number)
            setattr(sys, name, stream)
        from tqdm import tqdm

        tqdm.set_lock(threading.RLock())  # its own is shared with all forks: who is killed while holding it would stop them
        from magic_cli.cli.main import main

        sys.addaudithook(_Changes(folder, pipe, aim or Aim()))
        status = main(list(words))
        if modules is not None:
            modules.write_text("\n".join(list(sys.modules)))
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os._exit(status)  # the parent's own work is not for this process


class _Changes:
    """Tells the parent of each change to a file below a folder that this process is about to make; kills it before one."""

    def __init__(self, folder: Path, pipe: int, aim: Aim) -> None:
        self._below, self._pipe, self._aim = f"{folder}{os.sep}", pipe, aim
        self._pid, self._number = os.getpid(), 0

    def __call__(self, event: str, arguments: tuple) -> None:
        if event == "open":
            if not isinstance(arguments[2], int) or not arguments[2] & _WRITES:
                return
        elif event not in _CHANGES:
            return
        if os.getpid() != self._pid or not self._is_below(arguments[0]):
            return
        self._number += 1
        if self._number == self._aim.change:
            (os.killpg if self._aim.with_workers else os.kill)(self._pid, signal.SIGKILL)
        os.write(self._pipe, b".")

    def _is_below(self, path: object) -> bool:
        return isinstance(path, str | bytes | os.PathLike) and os.path.abspath(os.fsdecode(path)).startswith(self._below)


def _watch(pid: int, handle: int, pipe: int, aim: Aim | None) -> Ending:
    """Count the changes that a process tells of, kill it when it is time, wait for its end."""
    poll = select.poll()
    for descriptor in (handle, pipe):
        poll.register(descriptor, select.POLLIN)
    began = due = None
    changes, awake = 0, _Awake()
    while True:
        if due is not None and time.monotonic() >= due:
            _kill(pid, with_workers=aim.with_workers)
            due = None
        if awake.seconds() >= SECONDS:
            _kill(pid, with_workers=True)
            os.waitpid(pid, 0)
            raise Hung(f"did not end within {SECONDS:.0f} seconds")
        seconds = 1.0 if due is None else min(1.0, max(0.0, due - time.monotonic()))
        ready = dict(poll.poll(seconds * 1000))
        if ready.get(pipe, 0) & select.POLLIN:
            changes += len(os.read(pipe, 1 << 16))
            began = awake.seconds() if began is None else began
            if aim is not None and aim.change is None and due is None and changes >= aim.after:
                due, aim = time.monotonic() + aim.seconds, Aim(after=1 << 60, with_workers=aim.with_workers)
        elif pipe in ready:
            poll.unregister(pipe)
        if handle in ready:
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            return Ending(status, changes, awake.seconds() - (began or 0.0))


class _Awake:
    """Time without that during which this process was stopped, as all others may have been."""

    def __init__(self) -> None:
        self._seconds, self._last = 0.0, time.monotonic()

    def seconds(self) -> float:
        """Since it was made; to be asked at least once a second."""
        now = time.monotonic()
        self._seconds, self._last = self._seconds + min(now - self._last, 1.5), now
        return self._seconds


def _kill(pid: int, *, with_workers: bool) -> None:
    """It cannot be gone: it stays, as what is left of it, until it is waited for. Its group is made as its first deed."""
    if with_workers:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)


def wait_until_gone(seconds: float = GONE_SECONDS) -> list[str]:
    """Wait for all processes that killed commands have started; returns the names of those that would not go, now killed."""
    awake, left = _Awake(), []
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0]:
                continue
        except ChildProcessError:
            return left
        if awake.seconds() >= seconds:
            for pid in _children():
                left.append(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip())
                os.kill(pid, signal.SIGKILL)
            awake = _Awake()
        time.sleep(0.01)


def _children() -> Iterator[int]:
    return map(int, Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split())
