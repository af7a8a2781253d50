"""Times several sides in turn, so that other activity on the machine affects all of them equally."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from magic_cli.benchmark.machine import Disturbance
from magic_cli.models.work_counter import WorkCounter

COUNTS = ("lm_positions", "head_rows", "texts_encoded", "text_tokens", "steps_remembered", "steps_unasked")
PHASES = ("language_model", "image_text_model", "text")


@dataclass
class Sample:
    """One timed run of one side."""

    seconds: float
    phases: dict[str, float]
    counts: dict[str, int]
    others_share: float | None
    """Share of the processor that other programs used during the run."""


@dataclass
class Side:
    """One thing to time.

    Attributes:
        run: Does the work; its argument is the number of the repeat, from 0.
        texts: Texts written by one run.
        work: Counts and phases of a run; None: there are none.
        samples: The timed runs so far.
    """

    run: Callable[[int], Any]
    texts: int
    work: WorkCounter | None = None
    samples: list[Sample] = field(default_factory=list)

    def measure(self, repeat: int) -> None:
        """Run once more and store the sample."""
        work = self.work or WorkCounter()
        counts, phases = dict(work.counts), dict(work.seconds)
        with Disturbance() as disturbance:
            start = time.perf_counter()
            self.run(repeat)
            if torch.cuda.is_initialized():
                torch.cuda.synchronize()
            seconds = time.perf_counter() - start
        self.samples.append(
            Sample(
                seconds,
                {name: total - phases.get(name, 0) for name, total in work.seconds.items()},
                {name: total - counts.get(name, 0) for name, total in work.counts.items()},
                disturbance.share,
            )
        )

    @property
    def seconds_per_text(self) -> float:
        """Median over the samples."""
        return statistics.median(sample.seconds for sample in self.samples) / self.texts

    def summary(self) -> dict[str, Any]:
        """Medians per text, and all samples, for bench.json."""
        phases = {name: statistics.median(s.phases.get(name, 0.0) for s in self.samples) / self.texts for name in PHASES}
        return {
            "texts": self.texts,
            "seconds_per_text": self.seconds_per_text,
            "texts_per_second": 1 / self.seconds_per_text,
            "phase_seconds_per_text": {**phases, "rest": self.seconds_per_text - sum(phases.values())},
            "work_per_text": {name: statistics.mean(s.counts.get(name, 0) for s in self.samples) / self.texts for name in COUNTS},
            "samples": [vars(sample) for sample in self.samples],
        }


def measure_in_turn(sides: Sequence[Side], repeats: int, step: Callable[..., Any]) -> None:
    """Time every side ``repeats`` times: each side once, then each again, and so on.

    Args:
        sides: The sides; their samples grow.
        repeats: Runs of each side.
        step: Called after each run; at the end of a repeat with a note.
    """
    for repeat in range(repeats):
        for side in sides:
            side.measure(repeat)
            step(f"repeat {repeat + 1} of {repeats}" if side is sides[-1] else None)
