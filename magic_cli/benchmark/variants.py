"""What 16-bit weights and compilation save compared with plain float32, and what they change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from magic_cli.benchmark.comparison import Step
from magic_cli.benchmark.measure import measure_in_turn
from magic_cli.benchmark.settings import BenchSettings
from magic_cli.benchmark.workloads import Workload, build_captions
from magic_cli.models.fast.compiling import require_compiler


def steps_of_variants(settings: BenchSettings) -> int:
    """How often ``measure_variants`` calls ``step``."""
    return (settings.num_repeats + 1) * (len(settings.variants) + 1)


def measure_variants(settings: BenchSettings, step: Step) -> dict[str, Any]:
    """Seconds per caption of each variant and of float32, in turn, and the share of captions that the variant changes."""
    batch = settings.run.batch_size
    workloads = {"float32": build_captions(settings, "natural", dtype="float32")}
    workloads |= {name: _BUILD[name](settings) for name in settings.variants}
    written = {}
    for name, workload in workloads.items():  # warm-up
        written[name] = workload.texts(workload.decode(batch))
        step()
    sides = {name: workload.side(batch) for name, workload in workloads.items()}
    measure_in_turn(list(sides.values()), settings.num_repeats, step)
    plain = sides["float32"].seconds_per_text
    return {
        "batch_size": batch,
        "lazy": workloads["float32"].is_lazy(batch),
        "texts": settings.texts,
        "rows": [
            {
                "variant": name,
                "speedup": plain / side.seconds_per_text,
                "changed": sum(a != b for a, b in zip(written[name], written["float32"], strict=True)) / settings.texts,
                **side.summary(),
            }
            for name, side in sides.items()
        ],
    }


def _compiled(settings: BenchSettings) -> Workload:
    workload = build_captions(settings, "natural", dtype="float32")
    require_compiler(workload.model.network.device)
    workload.model.network.compile()
    workload.scorer.compile_text()
    return workload


_BUILD: dict[str, Callable[[BenchSettings], Workload]] = {
    "bfloat16": lambda settings: build_captions(settings, "natural", dtype="bfloat16"),
    "compile": _compiled,
}
