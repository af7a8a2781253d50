"""Locks: one process at a time, and none is left behind."""

import os
import subprocess
import sys

import pytest

from magic_cli.files import Busy, hold

HOLDER = "import sys, time; from pathlib import Path; from magic_cli.files import hold\nwith hold(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock until it is killed."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path / ".lock")], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_second_process_is_refused_or_waits_until_the_first_is_killed(holder, tmp_path):
    lock, told = tmp_path / ".lock", []
    with pytest.raises(Busy), hold(lock):
        pass
    assert lock.read_text() == str(holder.pid), "who is refused changes nothing"

    def tell(process):
        told.append(process)
        holder.kill()

    with hold(lock, tell=tell):
        assert lock.read_text() == str(os.getpid())
    assert told == [str(holder.pid)]
    assert lock.read_text() == ""


def test_wait_ends_when_the_check_says_so(holder, tmp_path):
    calls = []

    def check():
        calls.append(1)
        if len(calls) == 3:
            raise TimeoutError

    with pytest.raises(TimeoutError), hold(tmp_path / ".lock", tell=lambda _: None, check=check):
        pass
    assert len(calls) == 3 and holder.poll() is None


def test_lock_is_free_again_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), hold(tmp_path / ".lock"):
        raise ZeroDivisionError
    with hold(tmp_path / ".lock"):
        pass
