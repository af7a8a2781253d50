"""Turns bench.json into tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from magic_cli.reports.tables import Cell, Column, Row, Table, render
from magic_cli.terminal.wording import counted

_SMALL = "GPT-2 small's shape, computing what the embedded caption model computes"
_LANGUAGE_MODELS = {
    "natural": f"{_SMALL} (natural text)",
    "random": "GPT-2 small's shape, random weights (no caption ends early)",
    "stories": f"{_SMALL}, without end-of-text: a story ends at its fifth full stop",
}
_IMAGES = "CLIP ViT-B/32's shape with random weights, OpenAI's tokenizer, random image features"
_COUNTS = {
    "lm_positions": "LM positions",
    "head_rows": "head rows",
    "texts_encoded": "texts encoded",
    "text_tokens": "CLIP tokens",
    "steps_unasked": "steps without the image",
}
_PHASES = {"language_model": "LM s", "image_text_model": "image-text s", "text": "text handling s", "rest": "rest s"}
_GIB = 2**30


def markdown(document: Mapping[str, Any]) -> str:
    """The whole report: a paragraph about the machine, then the tables of each measured part."""
    return f"# Speed\n\n{_machine(document)}\n\n{render(build_tables(document['sections']), 'markdown')}"


def _machine(document: Mapping[str, Any]) -> str:
    machine, packages, settings = (document[name] for name in ("machine", "packages", "settings"))
    names = {"OMP_WAIT_POLICY": machine["omp_wait_policy"], "GOMP_SPINCOUNT": machine["gomp_spincount"]}  # how threads wait
    waiting, others = ", ".join(f"{name} {value or 'not set'}" for name, value in names.items()), document["others_share"]
    parts = [
        f"{machine['cpu']}, {counted(machine['cores'], 'core')}, {counted(machine['threads'], 'thread')}, {waiting}.",
        f"Models on {machine['device']} in {settings['run']['dtype']}.",
        f"torch {packages['torch']}, transformers {packages['transformers']}, magic {document['magic']}"
        f" ({document['git_revision']}).",
        f"Medians of {settings['repeats']}, all sides in turn; load before the start {machine['load_average']:.2f}.",
    ]
    if others is not None:
        parts.append(f"Other programs took at most {_percent(others)} of the processor during a measurement.")
    parts += [
        f"Fastest matrix product, plain or with packed weights: {peak:.0f} GFLOP/s in {name}."
        for name, peak in document["peak_gflops"].items()
    ]
    return " ".join(parts)


def build_tables(sections: Mapping[str, Any]) -> list[Table]:
    """The tables of all measured parts, in the order of the report."""
    builders = {"embedded": _embedded, "variants": _variants, "growth": _growth, "memory": _memory, "zerocap": _zerocap}
    tables = [
        table
        for name, section in sections.get("captions", {}).items()
        for table in _comparison("Captions", section, _LANGUAGE_MODELS[name])
    ]
    if "stories" in sections:
        tables += _comparison("Stories", sections["stories"], _LANGUAGE_MODELS["stories"])
    return tables + [table for name, build in builders.items() if name in sections for table in build(sections[name])]


def _comparison(title: str, section: Mapping[str, Any], language_model: str) -> Iterator[Table]:
    """The core and the released algorithm: a table of speed, then a table of work."""
    sides = [("released algorithm, 1", {**section["released"], "speedup": 1.0})]
    sides += [(f"magic, batch {_batch(core)}{', remembering' if core['step_memory'] else ''}", core) for core in section["core"]]
    search, same = section["search"], "yes" if section["same_in_all_ways"] else "no"
    yield _table(
        f"{title}: k {search['k']}, alpha {search['alpha']:g}, beta {search['beta']:g}, {search['decoding_len']} tokens in all",
        ["", "seconds a text", "texts a second", "speedup", "GFLOP a text", "share of peak", "bare", "loop to bare"],
        [
            [
                name,
                _fixed(side["seconds_per_text"], 3),
                _fixed(side["texts_per_second"], 2),
                _fixed(side["speedup"], 2),
                _fixed(side["gflop_per_text"], 1),
                _percent(side["share_of_peak"]),
                _percent(side["bare_share_of_peak"]),
                _fixed(side["loop_to_bare"], 2),
            ]
            for name, side in sides
        ],
        f"Language model: {language_model}. {_IMAGES}.",
        f"Texts have {section['new_tokens_per_text']:.1f} new tokens on average; the released algorithm never stops before "
        f"{section['longest_text_tokens']}.",
        f"Identical tokens: {section['identical']} of {counted(section['checked'], 'text')}; the same in all ways: {same}.",
        f"Share of peak: of {section['peak_gflops']:.0f} GFLOP/s, this run's fastest product. Bare: the share that the loop's own "
        "matrix products reach, run alone at the same shapes; loop to bare: its time over theirs. Remembering: steps of the run's "
        "earlier texts that began alike, from none.",
    )
    rows = [[name, _fixed(side["work_per_text"]["steps_remembered"], 1), *_work(side), *_seconds(side)] for name, side in sides]
    yield _table(f"{title}: work and seconds a text", ["", "steps remembered", *_COUNTS.values(), *_PHASES.values()], rows)


def _embedded(section: Mapping[str, Any]) -> Iterator[Table]:
    yield _table(
        "Embedded models on real photos, float32",
        ["batch", "captions a second", "seconds a caption", *_PHASES.values()],
        [
            [_batch(core), _fixed(core["texts_per_second"], 2), _fixed(core["seconds_per_text"], 3), *_seconds(core)]
            for core in section["core"]
        ],
        f"{counted(section['photos'], 'photo')} for {counted(section['texts'], 'caption')}; their features take {section['seconds_per_image']:.3f} s "
        "a photo on top.",
    )


def _variants(section: Mapping[str, Any]) -> Iterator[Table]:
    yield _table(
        "Variants",
        ["", "seconds a caption", "captions a second", "speedup", "captions changed"],
        [
            [
                row["variant"],
                _fixed(row["seconds_per_text"], 3),
                _fixed(row["texts_per_second"], 2),
                _fixed(row["speedup"], 2),
                _percent(row["changed"]),
            ]
            for row in section["rows"]
        ],
        f"Natural text, batch {_batch(section)}, {counted(section['texts'], 'caption')}. Compiling is not timed.",
    )


def _growth(section: Mapping[str, Any]) -> Iterator[Table]:
    for axis, points in section["axes"].items():
        others = ", ".join(f"{name} {section[name]}" for name in section["axes"] if name != axis)
        yield _table(
            f"Seconds a caption against {axis} ({others}; natural text without end-of-text)",
            [axis, "seconds a caption", *_COUNTS.values()],
            [[str(point[axis]), _fixed(point["seconds_per_text"], 3), *_work(point)] for point in points],
            *_whole_batches(section),
        )


def _batch(section: Mapping[str, Any]) -> str:
    """How many texts, and the setting that goes with it, where it is not the usual one."""
    return f"{section['batch_size']}{'' if section['lazy'] else ' (run.lazy=false)'}"


def _whole_batches(section: Mapping[str, Any]) -> Iterator[str]:
    if sizes := [size for size, lazy in section["lazy"].items() if not lazy]:
        yield f"Batches of {', '.join(sizes)} look at all candidates (run.lazy=false), as runs do on this device."


def _memory(section: Mapping[str, Any]) -> Iterator[Table]:
    names = {"core": "magic", "released": "released algorithm"}
    yield _table(
        "Memory of the GPU, GiB" if section["device"] == "cuda" else "Resident memory, GiB",
        ["", "before decoding", "peak", "difference"],
        [
            [
                f"{names[row['side']]}, batch {row['batch_size']}",
                _fixed(row["before_bytes"] / _GIB, 2),
                _fixed(row["peak_bytes"] / _GIB, 2),
                _fixed((row["peak_bytes"] - row["before_bytes"]) / _GIB, 2),
            ]
            for row in section["rows"]
        ],
        "Captions, natural text, each side in a process of its own.",
    )


def _zerocap(section: Mapping[str, Any]) -> Iterator[Table]:
    names = {
        "zerocap_published": "ZeroCap, as published",
        "zerocap_cached": "ZeroCap, magic's caching",
        "magic_released": "MAGIC, released algorithm",
        "magic": "MAGIC, magic, batch 1",
    }
    yield _table(
        "ZeroCap and MAGIC with the same models",
        ["", "seconds a caption", "times released MAGIC", "times magic", *_COUNTS.values(), *_PHASES.values()],
        [
            [
                name,
                _fixed(section["sides"][side]["seconds_per_text"], 3),
                _fixed(section["times_magic_released"][side], 2),
                _fixed(section["times_magic"][side], 2),
                *_work(section["sides"][side]),
                *_seconds(section["sides"][side]),
            ]
            for side, name in names.items()
        ],
        f"Language model: {_LANGUAGE_MODELS['natural']}. {_IMAGES}.",
        f"n = {counted(section['captions'], 'caption')}, {counted(section['repeats'], 'run')} a side; ZeroCap with {counted(section['zerocap']['num_texts'], 'text')} "
        f"and {section['zerocap']['num_iterations']} gradient steps a token. LM positions are those of forward passes; backward passes are in the rest. CLIP tokens of texts "
        "that are encoded whole by the model's own encoder are not counted.",
        f"New tokens a caption: ZeroCap {section['new_tokens_per_text']['published']:.1f}, MAGIC "
        f"{section['new_tokens_per_text']['magic']:.1f}; the released algorithm never stops before its decoding length.",
        f"ZeroCap's tokens with and without caching are identical in {section['identical']} of {counted(section['captions'], 'caption')}.",
    )


def _work(side: Mapping[str, Any]) -> list[str]:
    return [_fixed(side["work_per_text"][name], 0) for name in _COUNTS]


def _seconds(side: Mapping[str, Any]) -> list[str]:
    return [_fixed(side["phase_seconds_per_text"][name], 3) for name in _PHASES]


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *notes: str) -> Table:
    return Table(
        title=title,
        columns=tuple(Column(name, is_label=i == 0) for i, name in enumerate(columns)),
        rows=tuple(Row(tuple(map(Cell, row))) for row in rows),
        notes=notes,
    )


def _fixed(value: float, digits: int) -> str:
    return f"{value:.{digits}f}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
