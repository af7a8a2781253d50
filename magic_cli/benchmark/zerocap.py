"""ZeroCap and MAGIC with the same language model and image-text model: seconds and encoded texts per caption.

Four sides run in turn: ZeroCap as published, which encodes every text anew; ZeroCap with the exact caching of the core; the
released MAGIC algorithm; and the core's MAGIC, one caption at a time.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from magic_cli.benchmark.comparison import Step
from magic_cli.benchmark.measure import Side, measure_in_turn
from magic_cli.benchmark.settings import BenchSettings
from magic_cli.benchmark.workloads import Workload, build_captions
from magic_cli.decoding.zerocap.method import ZeroCap
from magic_cli.models.work_counter import WorkCounter

_SIDES = 4
_WARM_UPS = 3


def steps_of_zerocap(settings: BenchSettings) -> int:
    """How often ``measure_zerocap`` calls ``step``."""
    return _WARM_UPS + _SIDES * settings.zerocap.repeats


def measure_zerocap(settings: BenchSettings, step: Step) -> dict[str, Any]:
    """Measure on natural text; a section of bench.json."""
    return compare_with_magic(build_captions(settings, "natural"), settings, step)


def compare_with_magic(workload: Workload, settings: BenchSettings, step: Step) -> dict[str, Any]:
    """Measure one workload with MAGIC as its method; a section of bench.json.

    Every side writes captions for the first ``zerocap.captions`` images.
    """
    number, method = settings.zerocap.captions, settings.zerocap.method()
    cached, published = (_with(workload, replace(method, text_cache=text_cache)) for text_cache in (True, False))
    written: dict[str, list[list[int]]] = {}

    def write(name: str, some: Workload) -> None:
        written[name] = some.decode(1, number=number)

    # one token of ZeroCap runs everything that later tokens run, so it is enough as warm-up
    _with(workload, replace(method, decoding_len=len(workload.prompts[0]) + 1)).decode(1, number=1)
    step()
    workload.decode(1, number=1)
    step()
    workload.decode_released(0)
    step()
    sides = {
        "zerocap_published": Side(lambda _: write("published", published), number, workload.work),
        "zerocap_cached": Side(lambda _: write("cached", cached), number, workload.work),
        "magic_released": Side(lambda _: [workload.decode_released(i) for i in range(number)], number, workload.released_work),
        "magic": Side(lambda _: write("magic", workload), number, workload.work),
    }
    measure_in_turn(list(sides.values()), settings.zerocap.repeats, step)
    return {
        "captions": number,
        "repeats": settings.zerocap.repeats,
        "zerocap": asdict(method),
        "magic": asdict(settings.captions),
        "new_tokens_per_text": {name: sum(map(len, ids)) / number for name, ids in written.items()},
        "identical": sum(a == b for a, b in zip(written["published"], written["cached"], strict=True)),
        "sides": {name: side.summary() for name, side in sides.items()},
        "times_magic_released": {
            name: side.seconds_per_text / sides["magic_released"].seconds_per_text for name, side in sides.items()
        },
        "times_magic": {name: side.seconds_per_text / sides["magic"].seconds_per_text for name, side in sides.items()},
        "examples": {name: workload.texts(ids)[:3] for name, ids in written.items()},
    }


def _with(workload: Workload, method: ZeroCap) -> Workload:
    """The same texts, written by ZeroCap."""
    return replace(workload, method=method, released_work=WorkCounter())
