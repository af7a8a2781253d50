"""The core and the released algorithm on the same texts: seconds, arithmetic, work, and whether the tokens agree."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import torch

from magic_cli.benchmark.arithmetic import Products, matrix_product_peak, record
from magic_cli.benchmark.measure import Side, measure_in_turn
from magic_cli.benchmark.settings import BenchSettings, SearchSettings
from magic_cli.benchmark.workloads import Workload
from magic_cli.models.loading import resolve_device

Step = Callable[..., Any]
"""Called after each step, for a progress bar; with a note at the end of a larger piece of work."""


def steps_of_comparison(settings: BenchSettings) -> int:
    """How often ``compare`` calls ``step``."""
    ways = len(_ways(settings))
    return ways + settings.num_checked + settings.num_repeats * (3 + 2 * ways)


def _ways(settings: BenchSettings) -> list[tuple[int, int]]:
    """How the core writes the texts: batch size, and MiB for remembered steps if ``magic caption`` would use any."""
    remembers = settings.run.dtype.value == "float32" and resolve_device(settings.run.device).type == "cpu"
    return [(size, memory) for memory in dict.fromkeys((0, settings.step_memory * remembers)) for size in settings.batch_sizes]


def compare(workload: Workload, search: SearchSettings, settings: BenchSettings, step: Step) -> dict[str, Any]:
    """Measure one workload.

    First everything runs once to be counted, which also warms it up. Then these are timed in turn: the released algorithm (a
    different text in each repeat), the core at every batch size without and with remembered steps, the matrix products of each
    alone, and large products.

    Returns:
        A section of bench.json.
    """
    checked, texts = settings.num_checked, settings.texts
    write = {way: partial(workload.decode, way[0], step_memory=way[1]) for way in _ways(settings)}
    written = {way: _count(workload, decode, step) for way, decode in write.items()}
    released = [_count(workload, partial(workload.decode_released, index), step) for index in range(checked)]

    baseline = Side(lambda repeat: workload.decode_released(repeat % checked), 1, workload.released_work)
    core = {way: workload.side(way[0], step_memory=way[1]) for way in write}
    bare_baseline = _bare([products for _, products in released], 1)
    bare_core = {way: _bare([products], texts) for way, (_, products) in written.items()}
    dtype, device = getattr(torch, settings.run.dtype.value), workload.model.network.device
    peaks: list[float] = []
    large_products = Side(lambda _: peaks.append(matrix_product_peak(dtype=dtype, device=device)), 1)
    measure_in_turn([large_products, baseline, *core.values(), bare_baseline, *bare_core.values()], settings.num_repeats, step)

    peak = max(peaks)
    first, _ = next(iter(written.values()))
    released_flops = statistics.mean(products.flops for _, products in released)
    return {
        "search": asdict(search),
        "texts": texts,
        "new_tokens_per_text": statistics.mean(map(len, first)),
        "longest_text_tokens": max(search.decoding_len - len(prompt) for prompt in workload.prompts),
        "peak_gflops": peak,
        "peak_samples": peaks,
        "released": baseline.summary() | _arithmetic(baseline, bare_baseline, released_flops, peak),
        "core": [
            {"batch_size": way[0], "step_memory": way[1], "lazy": workload.is_lazy(way[0])}
            | {"speedup": baseline.seconds_per_text / side.seconds_per_text}
            | side.summary()
            | _arithmetic(side, bare_core[way], written[way][1].flops / texts, peak)
            for way, side in core.items()
        ],
        "checked": checked,
        "identical": sum(
            all(ids[i] == reference[: len(ids[i])] for ids, _ in written.values()) for i, (reference, _) in enumerate(released)
        ),
        "same_in_all_ways": all(ids == first for ids, _ in written.values()),
        "examples": workload.texts(first)[:3],
    }


def _count(workload: Workload, decode: Callable[[], Any], step: Step) -> tuple[Any, Products]:
    """The result of ``decode``, and its matrix products."""
    counted = record(workload.networks, decode)
    step()
    return counted


def _bare(products: list[Products], texts: int) -> Side:
    """A side that runs the products alone; each repeat uses those of a different text."""
    runs = [each.bare() for each in products]
    return Side(lambda repeat: runs[repeat % len(runs)](), texts)


def _arithmetic(side: Side, bare: Side, flops_per_text: float, peak: float) -> dict[str, Any]:
    return {
        "gflop_per_text": flops_per_text / 1e9,
        "share_of_peak": flops_per_text / 1e9 / side.seconds_per_text / peak,
        "bare_share_of_peak": flops_per_text / 1e9 / bare.seconds_per_text / peak,
        "bare_seconds_per_text": bare.seconds_per_text,
        "bare_samples": [sample.seconds for sample in bare.samples],
        "loop_to_bare": side.seconds_per_text / bare.seconds_per_text,
    }
