"""How the seconds per caption grow with the number of candidates, tokens and texts in a batch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from magic_cli.benchmark.comparison import Step
from magic_cli.benchmark.measure import Side, measure_in_turn
from magic_cli.benchmark.settings import BenchSettings
from magic_cli.benchmark.workloads import Workload, build_endless

REPEATS = 3
"""The most repeats, because there are many points."""


def steps_of_growth(settings: BenchSettings) -> int:
    """How often ``measure_growth`` calls ``step``."""
    points = len(settings.growth.k) + len(settings.growth.tokens) + len(settings.growth.batch)
    return 1 + points * min(settings.num_repeats, REPEATS)


def measure_growth(settings: BenchSettings, step: Step) -> dict[str, Any]:
    """Seconds per caption along three axes, without captions that end early; a section of bench.json."""
    growth, search, batch = settings.growth, settings.captions, settings.run.batch_size
    workload = build_endless(settings, max(*growth.batch, batch))
    most = max(*growth.k, search.k)
    workload.prepare(decoding_len=max(*growth.tokens, search.decoding_len) + 1, num_candidates=most)
    workload.decode(batch, until_settled=False, number=batch)  # warm-up
    step()
    method = search.method()
    axes = {
        "k": {k: _side(replace(workload, method=replace(method, k=k)), batch) for k in growth.k},
        "tokens": {n: _side(replace(workload, method=replace(method, decoding_len=n + 1)), batch) for n in growth.tokens},
        "batch": {size: _side(workload, size) for size in growth.batch},
    }
    sides = [side for points in axes.values() for side in points.values()]
    measure_in_turn(sides, min(settings.num_repeats, REPEATS), step)
    return {
        "k": search.k,
        "tokens": search.decoding_len - 1,
        "batch": batch,
        "lazy": {str(size): workload.is_lazy(size) for size in sorted({batch, *growth.batch})},
        "axes": {axis: [{axis: value, **side.summary()} for value, side in points.items()] for axis, points in axes.items()},
    }


def _side(workload: Workload, batch: int) -> Side:
    return Side(lambda _: workload.decode(batch, until_settled=False, number=batch), batch, workload.work)
