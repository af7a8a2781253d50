"""One process at a time in a run folder."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from magic_cli.errors import MagicError


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a run folder, made if it does not exist, for this process alone.

    Raises:
        MagicError: It cannot be written, or another process holds it.
    """
    with contextlib.ExitStack() as stack:
        try:
            path.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context((path / ".lock").open("w"))
        except OSError as error:
            raise MagicError(f"run.dir={path}: cannot be written ({error.strerror}); set run.dir to another folder") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel lets go of it however we die
        except BlockingIOError:
            raise MagicError(f"run.dir={path}: another process is working on this run; wait for it, or set another run.dir") from None
        yield
