"""An index that several processes or a Ray cluster build has the bytes of one that a single process builds, whoever is killed."""

import importlib.util
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from magic_cli.cli.main import main
from tests.commands.test_crash import start, wait, wait_for_lines
from tests.commands.test_engines import workers_of

NEEDS_RAY = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")

pytestmark = pytest.mark.usefixtures("in_tmp_path")


def files(folder) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in Path(folder).iterdir() if file.name != ".lock"}


@pytest.fixture
def words(photos, model):
    """A build of 40 images, one of which cannot be read, in batches of four."""
    for number in range(11):
        for photo in ("noise", "disc", "sky"):
            shutil.copy(photos / f"{photo}.jpg", photos / f"{number}-{photo}.jpg")
    (photos / "9-broken.jpg").write_text("no picture")
    return ["retrieve-images", "build", "photos", "run.batch_size=4", *model[:-1]]  # behind it comes the folder


def build(words, folder, *engine) -> dict[str, bytes]:
    assert wait(start([*words, folder, *engine])) == 3, Path("output.txt").read_text()
    return files(folder)


@pytest.mark.long
def test_processes_build_the_same_index_also_when_one_is_killed(words):
    expected = build(words, "local")
    pid = start([*words, "processes", "run.devices=2"])
    while len(workers := workers_of(pid)) < 2:
        time.sleep(0.01)
    os.kill(workers[1], signal.SIGKILL)
    assert wait(pid) == 3, Path("output.txt").read_text()
    assert files("processes") == expected


@pytest.mark.long
@pytest.mark.parametrize("engine", [["run.devices=2"], pytest.param(["run.engine=ray", "run.actors=2"], marks=NEEDS_RAY)])
def test_build_goes_on_after_its_driver_is_killed(engine, words):
    expected = build(words, "local")
    pid = start([*words, "bank", *engine])
    wait_for_lines(Path("bank/progress.jsonl"), 2, pid)
    os.killpg(pid, signal.SIGKILL)
    wait(pid)
    assert build(words, "bank", *engine) == expected


def test_query_has_one_process(capsys):
    assert main(["retrieve-images", "query", "--query", "a bus", "--index", "bank", "run.devices=2"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "run.devices and run.engine=ray belong to `magic retrieve-images build`" in line
