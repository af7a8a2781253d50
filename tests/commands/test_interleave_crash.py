"""``magic interleave`` is killed, and ends as if nothing had happened: texts, images, failures, trace and page."""

import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from tests.commands.interleaving import files, stories, words  # noqa: F401  fixtures
from tests.commands.test_crash import start, wait, wait_for_lines

KILLS = int(os.environ.get("MAGIC_TEST_KILLS", "10"))


def killed_runs_end_the_same(words, stories, kills, *, everywhere=True):
    """Kill a run so many times, each in a folder of its own, and let it go on; returns the lines that were there when it was killed.

    Without ``everywhere`` kills come when items are written, else half of them at any time.
    """
    import magic_cli.cli.hydra_app
    import magic_cli.commands.interleave
    import magic_cli.interleaved.loading  # noqa: F401

    words = [
        *words,
        "--items",
        str(stories),
        "history=self",
        "run.batch_size=1" if not everywhere else "run.batch_size=2",
        "steps=10",
        "run.trace=true",
    ]
    assert wait(start([*words, "run.dir=undisturbed"])) == 3
    began = time.perf_counter()
    if everywhere:
        assert wait(start([*words, "run.dir=timed"])) == 3
    duration, expected = time.perf_counter() - began, files("undisturbed")
    rng, lines = random.Random(0), []
    for number in range(kills):
        folder = Path(f"run{number}")
        while True:  # until the kill comes before the end
            pid = start([*words, f"run.dir={folder}"])
            if number % 2 or not everywhere:  # among the stories, however fast the machine is just then
                wait_for_lines(folder / "predictions.jsonl", rng.randint(1, 3), pid)
            else:
                time.sleep(duration * (number + rng.random()) / kills)
            os.kill(pid, signal.SIGKILL)
            if wait(pid) == -signal.SIGKILL:
                break
            shutil.rmtree(folder)
            duration *= 0.95
        done = folder / "predictions.jsonl"
        lines.append(done.read_bytes().count(b"\n") if done.exists() else 0)
        assert wait(start([*words, f"run.dir={folder}"])) == 3
        assert files(folder) == expected
    return lines


def test_killed_run_ends_byte_identical_with_its_images(words, stories):
    lines = killed_runs_end_the_same(words, stories, kills=2, everywhere=False)
    assert any(0 < count < 4 for count in lines)


@pytest.mark.slow
@pytest.mark.long
def test_run_killed_at_many_moments_ends_byte_identical(words, stories):
    lines = killed_runs_end_the_same(words, stories, kills=KILLS)
    print(f"{KILLS} kills; items written when killed: {sorted(lines)}")
    assert any(0 < count < 4 for count in lines)
