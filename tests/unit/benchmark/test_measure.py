"""Timing in turn, its sums, and the watch on other programs."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass

import psutil
import pytest

from magic_cli.benchmark import machine
from magic_cli.benchmark.machine import Disturbance
from magic_cli.benchmark.measure import Side, measure_in_turn
from magic_cli.models.work_counter import WorkCounter


def test_sides_take_turns_and_know_the_repeat():
    order, steps = [], []
    sides = [Side(lambda repeat, name=name: order.append((name, repeat)), texts=1) for name in "ab"]
    measure_in_turn(sides, 3, steps.append)
    assert order == [(name, repeat) for repeat in range(3) for name in "ab"]
    assert steps == [None, "repeat 1 of 3", None, "repeat 2 of 3", None, "repeat 3 of 3"]


@dataclass
class Clock:
    """In place of the module ``time``: a clock, and seconds of the processor, that go as they are told."""

    now: float = 0.0
    own: float = 0.0

    def perf_counter(self):
        return self.now

    def process_time(self):
        return self.own


def test_summary_holds_medians_a_text_and_the_work_of_each_run(monkeypatch):
    work, pauses, clock = WorkCounter(), iter([0.0, 0.2, 0.02]), Clock()
    for module in ("magic_cli.benchmark.measure", "magic_cli.models.work_counter"):
        monkeypatch.setattr(f"{module}.time", clock)

    def run(repeat):
        work.add("lm_positions", 10)
        clock.now += 0.001
        with work.phase("language_model"):
            clock.now += next(pauses)

    side = Side(run, texts=2, work=work)
    measure_in_turn([side], 3, lambda note: None)
    summary = side.summary()
    assert summary["seconds_per_text"] == pytest.approx(0.0105)  # neither the mean nor the largest
    assert summary["texts_per_second"] == pytest.approx(1 / summary["seconds_per_text"])
    assert summary["work_per_text"] == {
        "lm_positions": 5,
        **dict.fromkeys(("head_rows", "texts_encoded", "text_tokens", "steps_remembered", "steps_unasked"), 0),
    }
    phases = summary["phase_seconds_per_text"]
    assert phases["language_model"] == pytest.approx(0.01)
    assert sum(phases.values()) == pytest.approx(summary["seconds_per_text"])
    assert [sample["counts"]["lm_positions"] for sample in summary["samples"]] == [10, 10, 10]


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's counters are Linux's")
def test_another_program_is_noticed_and_our_own_work_is_not(tmp_path, monkeypatch):
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
        try:
            program = psutil.Process(other.pid)
            with Disturbance() as disturbance:
                began, before = time.perf_counter(), program.cpu_times()
                while (used := sum(program.cpu_times()[:2]) - sum(before[:2])) < 0.2:
                    time.sleep(0.02)
                wall = time.perf_counter() - began
        finally:
            other.kill()
    assert disturbance.share > 0.5 * used / (wall * os.cpu_count())  # the kernel counts in steps of 10 ms

    ticks = os.sysconf("SC_CLK_TCK")
    monkeypatch.setattr(machine, "_PROC", tmp_path)
    monkeypatch.setattr(machine, "time", clock := Clock())
    (tmp_path / "stat").write_text("cpu 0 0 0 0 0 0 0 0 0 0\n")
    with Disturbance() as disturbance:
        clock.now, clock.own = 4.0, 1.5
        (tmp_path / "stat").write_text(f"cpu {2 * ticks} 0 {1 * ticks} {5 * ticks} 0 0 0 0 0 0\n")
    assert disturbance.share == pytest.approx((2 + 1 - 1.5) / (4 * os.cpu_count()))
