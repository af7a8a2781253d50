"""Timing in turn, its sums, and the watch on other programs."""

import os
import subprocess
import sys
import time

import pytest

from magic_cli.benchmark.machine import Disturbance
from magic_cli.benchmark.measure import Side, measure_in_turn
from magic_cli.models.work_counter import WorkCounter


def test_sides_take_turns_and_know_the_repeat():
    order, steps = [], []
    sides = [Side(lambda repeat, name=name: order.append((name, repeat)), texts=1) for name in "ab"]
    measure_in_turn(sides, 3, steps.append)
    assert order == [(name, repeat) for repeat in range(3) for name in "ab"]
    assert steps == [None, "repeat 1 of 3", None, "repeat 2 of 3", None, "repeat 3 of 3"]


def test_summary_holds_medians_a_text_and_the_work_of_each_run():
    work, pauses = WorkCounter(), iter([0.0, 0.2, 0.02])

    def run(repeat):
        work.add("lm_positions", 10)
        with work.phase("language_model"):
            time.sleep(next(pauses))

    side = Side(run, texts=2, work=work)
    measure_in_turn([side], 3, lambda note: None)
    summary = side.summary()
    assert 0.01 <= summary["seconds_per_text"] < 0.05  # neither the mean nor the largest
    assert summary["texts_per_second"] == pytest.approx(1 / summary["seconds_per_text"])
    assert summary["work_per_text"] == {
        "lm_positions": 5,
        **dict.fromkeys(("head_rows", "texts_encoded", "text_tokens", "steps_remembered"), 0),
    }
    phases = summary["phase_seconds_per_text"]
    assert phases["language_model"] == pytest.approx(summary["seconds_per_text"], abs=2e-3)
    assert sum(phases.values()) == pytest.approx(summary["seconds_per_text"])
    assert [sample["counts"]["lm_positions"] for sample in summary["samples"]] == [10, 10, 10]


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's counters are Linux's")
def test_another_program_is_noticed_and_our_own_work_is_not():
    def work_hard(seconds):
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            sum(range(1000))

    def share(block):
        with Disturbance() as disturbance:
            block()
        return disturbance.share

    own = min(share(lambda: work_hard(0.3)) for _ in range(3))  # whatever else runs on this machine
    code = "import time\nend = time.time() + 20\nwhile time.time() < end: pass"
    with subprocess.Popen([sys.executable, "-c", code]) as other:
        time.sleep(0.3)
        disturbed = share(lambda: time.sleep(0.5))
        other.kill()
    assert disturbed > own + 0.1 / os.cpu_count()
