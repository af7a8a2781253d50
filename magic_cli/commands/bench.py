"""magic bench: how fast decoding is on this machine, compared with the released algorithm and with the processor's peak."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from magic_cli.benchmark.settings import BenchSettings
from magic_cli.data.paths import expanded, make_output
from magic_cli.files import write_atomically
from magic_cli.provenance import provenance
from magic_cli.terminal.progress import Progress, progress

DONE, TOKENS_DIFFER = 0, 3
_DISTURBED = 0.1  # share of the processor that other programs may take before times are unreliable


def run(settings: BenchSettings) -> int:
    """Measure the chosen parts. Markdown goes to stdout; the same and bench.json go into a folder.

    bench.json is written after every part, so that a stopped command loses no measurement.

    Returns:
        0, or 3 if float32 texts differ from the released algorithm's.
    """

    from magic_cli.models.loading import quiet_libraries, resolve_device

    quiet_libraries()  # before the modules that import transformers

    from magic_cli.benchmark.machine import describe_machine, tell, warn_if_busy
    from magic_cli.benchmark.plot import plot_growth
    from magic_cli.benchmark.report import markdown
    from magic_cli.models.memory import return_free_memory
    from magic_cli.models.threads import use_threads
    from magic_cli.reports.plots import check_plotting

    if "growth" in (settings.parts or ()):
        check_plotting("parts=growth")
    use_threads(settings.run.threads)
    folder = _folder(settings)
    warn_if_busy(tell)
    document = {
        **provenance(),
        "machine": describe_machine(str(resolve_device(settings.run.device))),
        "settings": _plain(settings),
        "sections": {},
    }
    for title, steps, measure in _parts(settings):
        with progress(steps, title, "step") as bar:
            bar.say()
            _put(document["sections"], title, measure(partial(_step, bar)))
        return_free_memory()  # models of a part refer to each other and keep gigabytes until Python collects such cycles
        document |= _overview(document["sections"], settings)
        write_atomically(folder / "bench.json", json.dumps(document, ensure_ascii=False, indent=1) + "\n")
    report = markdown(document)
    if "growth" in document["sections"]:
        plot_growth(document["sections"]["growth"], folder / "growth")
        report += "\n![Growth](growth.png)\n"
    print(report, end="", flush=True)
    write_atomically(folder / "report.md", report)
    tell(f"{folder / 'bench.json'} and report.md")
    return _judge(document, settings, tell)


def _step(bar: Progress, note: str | None = None) -> None:
    """Count one step; a log gets a line for each repeat."""
    bar.update()
    if note is not None:
        bar.note(note)
        bar.say()


def _plain(settings: BenchSettings) -> dict[str, Any]:
    return json.loads(json.dumps(asdict(settings), default=lambda choice: choice.value))


def _folder(settings: BenchSettings) -> Path:
    folder = expanded(settings.output) if settings.output else Path("runs", "bench", time.strftime("%Y%m%d-%H%M%S"))
    make_output(folder)
    return folder


def _parts(settings: BenchSettings) -> Iterator[tuple[str, int, Callable[[Any], dict[str, Any]]]]:
    """Title, number of steps, and measuring function of each part; models live as long as their part."""
    from magic_cli.benchmark import comparison, embedded, growth, memory, variants, workloads, zerocap

    def compare_captions(name: str, step: Any) -> dict[str, Any]:
        return comparison.compare(workloads.build_captions(settings, name), settings.captions, settings, step)

    parts = settings.parts or ()
    if "captions" in parts:
        for name in settings.language_models or ():
            yield f"captions/{name}", comparison.steps_of_comparison(settings), partial(compare_captions, name)
    if "stories" in parts:
        yield (
            "stories",
            comparison.steps_of_comparison(settings),
            lambda step: comparison.compare(workloads.build_stories(settings), settings.stories, settings, step),
        )
    others = {
        "embedded": (embedded.steps_of_embedded, embedded.measure_embedded),
        "variants": (variants.steps_of_variants, variants.measure_variants),
        "growth": (growth.steps_of_growth, growth.measure_growth),
        "memory": (memory.steps_of_memory, memory.measure_memory),
        "zerocap": (zerocap.steps_of_zerocap, zerocap.measure_zerocap),
    }
    for name, (count, measure) in others.items():
        if name in parts:
            yield name, count(settings), partial(measure, settings)


def _put(sections: dict[str, Any], title: str, section: dict[str, Any]) -> None:
    *groups, name = title.split("/")
    for group in groups:
        sections = sections.setdefault(group, {})
    sections[name] = section


def _overview(sections: Mapping[str, Any], settings: BenchSettings) -> dict[str, Any]:
    """The machine's peak, and the largest share of the processor that others took (None: unknown), over all parts so far."""
    shares = [sample["others_share"] for sample in _samples(sections) if sample["others_share"] is not None]
    peaks = [section["peak_gflops"] for section in _comparisons(sections)]
    return {
        "peak_gflops": {settings.run.dtype.value: max(peaks)} if peaks else {},
        "others_share": max(shares, default=None),
    }


def _samples(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict) and "others_share" in node:
        yield node
    elif isinstance(node, dict | list):
        for child in node.values() if isinstance(node, dict) else node:
            yield from _samples(child)


def _comparisons(sections: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [*sections.get("captions", {}).values(), *([sections["stories"]] if "stories" in sections else [])]


def _judge(document: Mapping[str, Any], settings: BenchSettings, tell: Callable[[str], None]) -> int:
    """Report what is wrong with the numbers; returns the exit status."""
    if (document["others_share"] or 0) > _DISTURBED:
        tell(f"other programs took up to {100 * document['others_share']:.0f} % of the processor: these times are too long")
    wrong = [s for s in _comparisons(document["sections"]) if s["identical"] < s["checked"] or not s["same_in_all_ways"]]
    if not wrong or settings.run.dtype.value != "float32":
        return DONE
    tell(
        "texts differ from the released algorithm's (by a near tie, see bench.json, or by a fault), or from way to way (a fault)"
    )
    return TOKENS_DIFFER
