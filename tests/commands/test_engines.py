"""Runs in several processes and on a Ray cluster leave the same files as a run in one, whoever dies."""

import importlib.util
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from tests.commands.test_crash import FILES, start, wait_for_lines
from tests.files import lines

NEEDS_RAY = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")


@pytest.fixture
def words(photos, models, tmp_path, monkeypatch):
    """A run on the photos, one of them damaged, in batches of two."""
    monkeypatch.chdir(tmp_path)
    (photos / "broken.jpg").write_bytes(b"no picture")
    return ["caption", "--images", str(photos), *models, "run.batch_size=2", "run.trace=true", "run.image_cache=cache"]


def run_to_end(words, folder) -> dict[str, bytes]:
    """The files of a run of its own process group, which ends with status 3: one image cannot be read."""
    _, status = os.waitpid(start([*words, f"run.dir={folder}"]), 0)
    assert os.waitstatus_to_exitcode(status) == 3, Path("output.txt").read_text()
    return {name: (Path(folder) / name).read_bytes() for name in FILES}


def workers_of(pid: int) -> list[int]:
    """Processes that a process has spawned, oldest first."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


@pytest.mark.slow
def test_processes_leave_the_same_files_also_when_one_is_killed(words):
    expected = run_to_end(words, "local")
    pid = start([*words, "run.dir=processes", "run.devices=2"])
    while len(workers := workers_of(pid)) < 2:  # they load models for seconds yet
        time.sleep(0.01)
    os.kill(workers[0], signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 3, Path("output.txt").read_text()
    assert {name: (Path("processes") / name).read_bytes() for name in FILES} == expected


@pytest.mark.long
@NEEDS_RAY
def test_ray_leaves_the_same_files_also_when_its_driver_is_killed(words):
    expected = run_to_end(words, "local")
    ray = ["run.engine=ray", "run.actors=2"]
    pid = start([*words, "run.dir=ray", *ray])
    wait_for_lines(Path("ray/predictions.jsonl"), 2, pid)
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert run_to_end([*words, *ray], "ray") == expected


@pytest.mark.long
@NEEDS_RAY
def test_actor_that_is_killed_loses_nothing(words):
    expected = run_to_end(words, "local")
    pid = start([*words, "run.dir=ray", "run.engine=ray", "run.actors=2"])
    killed = threading.Thread(target=kill_an_actor, args=(pid,))
    killed.start()
    _, status = os.waitpid(pid, 0)
    killed.join()
    assert os.waitstatus_to_exitcode(status) == 3, Path("output.txt").read_text()
    assert {name: (Path("ray") / name).read_bytes() for name in FILES} == expected
    assert len(lines("ray/failures.jsonl")) == 1


def kill_an_actor(driver: int) -> None:
    """End the first actor that writes, when there is something in the run folder."""
    wait_for_lines(Path("ray/predictions.jsonl"), 1, driver)
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue  # it has ended
        if command.startswith(b"ray::_Actor"):
            os.kill(int(process.name), signal.SIGKILL)
            return
    time.sleep(0.1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["run.actors=2"], "run.actors=2: belongs to run.engine=ray"),
        (["run.address=auto"], "run.address=auto: belongs to run.engine=ray"),
        (["run.engine=ray", "run.devices=2"], "run.devices=2: are processes of this machine"),
        (["run.devices=0"], "run.devices"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings, message, words, capsys):
    from magic_cli.cli.main import main

    assert main([*words, *settings]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert message in line
