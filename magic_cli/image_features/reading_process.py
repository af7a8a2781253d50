"""What a process that reads images does first."""

from __future__ import annotations

import fcntl
import multiprocessing
import multiprocessing.connection
import os
import stat
import threading

from magic_cli.data.images import quiet_pillow

_NICENESS = 10


def begin_worker(number: int) -> None:
    """The first call in a reading process: give way to the decoder, release inherited files, end with the parent."""
    os.nice(_NICENESS)
    quiet_pillow()
    _release_files()
    threading.Thread(target=end_with_parent, daemon=True).start()


def _release_files() -> None:
    """Close files that were inherited open for writing: the lock of a run folder must not outlive the run."""
    for number in map(int, os.listdir("/dev/fd")):
        try:
            is_file, mode = stat.S_ISREG(os.fstat(number).st_mode), fcntl.fcntl(number, fcntl.F_GETFL)
        except OSError:
            continue  # the descriptor of the listing itself, closed by now
        if number > 2 and is_file and mode & os.O_ACCMODE != os.O_RDONLY:
            os.close(number)


def end_with_parent() -> None:
    """Wait for the parent to end, then end at once. DataLoader's own watchdog takes seconds and waits for full pipes."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # only children call this
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)
