"""Table 1 in small: the methods with the embedded models on real photos, all metrics and the seconds a caption takes.

    python scripts/mini_table.py --photos DIR [--spice-lib JARS] > mini_table.md

DIR has one folder a set, each a COCO-format captions.json and images/ (coco_karpathy_test, flickr8k; their test photos are
captioned). Markdown goes to stdout. Started again it goes on where it stopped. CLIPScore is by the embedded image-text
model, the one that guides MAGIC. Seconds are wall time of the runs, loading of models included, divided by the captions.
A method that fails is named below the table, and makes the exit status 1.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from magic_cli.models import loading  # noqa: F401 - imports no run's seconds should hold
from magic_cli.reports.speed import seconds_per_caption
from magic_cli.reports.tables import Cell, Column, Row, Table, render
from measure_embedded_models import SETS, quietly, words_of

TITLES = {"coco_karpathy_test": "COCO, Karpathy test", "flickr8k": "Flickr8k test"}
MEASURES = ("bleu_1", "bleu_4", "meteor", "rouge_l", "cider", "spice", "clip_score", "ref_clip_score")
METRICS = "bleu,meteor,rouge_l,cider,spice,clip_score,ref_clip_score"


class Method(NamedTuple):
    """A row of the table."""

    title: str
    words: tuple[str, ...]
    """Settings of ``magic caption``."""
    limit: int | None = None
    """Only the first so many photos; None: all."""


METHODS = {
    "top_k": Method("Top-k", ("decoding=top_k", "run.repeats=3")),
    "nucleus": Method("Nucleus", ("decoding=nucleus", "run.repeats=3")),
    "contrastive": Method("Contrastive", ("decoding=contrastive",)),
    "clipre": Method("CLIPRe", ("decoding=clipre",)),
    "zerocap": Method("ZeroCap", ("decoding=zerocap",), limit=20),
    "magic": Method("MAGIC", ("decoding=magic",)),
    "magic_memory": Method("MAGIC, memory of COCO", ("decoding=magic_memory", "guides.memory.limit=100000")),
    "magic_beam": Method("MAGIC beam", ("decoding=magic_beam",)),
    "rerank": Method("Best-of-N", ("decoding=rerank",)),
}


def measure(name: str, method: Method, args: argparse.Namespace) -> list[dict[str, Any]] | str:
    """Documents of metrics.json of a method's runs on one set, or what went wrong."""
    limits = [limit for limit in (method.limit, args.limit) if limit is not None]
    limit = min(limits, default=None)
    folder = args.runs / "-".join(
        [name, *(word.partition("=")[2] for word in method.words[:1]), *([f"first-{limit}"] if limit else [])]
    )
    words = [*words_of(args.photos, name, limit), *method.words, "run.cache_images=false", *args.overrides]
    if status := quietly(["caption", *words, f"run.dir={folder}"]):
        return f"magic caption ended with status {status}"
    folders = sorted(file.parent for file in folder.rglob("manifest.json"))
    scoring = [
        "--metrics",
        args.metrics,
        "--image-text-model",
        "embedded",
        *(["--spice-lib", args.spice_lib] if args.spice_lib else []),
    ]
    if (status := quietly(["evaluate", *map(str, folders), *scoring])) not in (
        0,
        3,
    ):  # 3: a metric could not run, which its note says
        return f"magic evaluate ended with status {status}"
    return [json.loads((one / "metrics.json").read_text(encoding="utf-8")) for one in folders]


def cells(method: Method, documents: Sequence[dict[str, Any]]) -> Iterator[Cell]:
    """One row: title, n, the measures, seconds a caption."""
    yield Cell(method.title)
    yield Cell("/".join(dict.fromkeys(str(document["n"]) for document in documents)))
    for key in MEASURES:
        facts = [document["metrics"][key] for document in documents if key in document["metrics"]]
        yield Cell(shown(facts)) if len(facts) == len(documents) else Cell()
    seconds = seconds_per_caption(documents)
    yield Cell("" if seconds is None else f"{seconds:.3f}")


def shown(facts: Sequence[dict[str, Any]]) -> str:
    """A measure as tables print it; of several runs the mean and the standard deviation."""
    values = [fact["value"] * fact["scale"] for fact in facts]
    text = f"{statistics.mean(values):.1f}"
    return f"{text} ± {statistics.stdev(values):.1f}" if len(values) > 1 else text


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs/mini_table"))
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--limit", type=int, help="only the first so many photos of each set, for all methods")
    parser.add_argument("--metrics", default=METRICS)
    parser.add_argument("--spice-lib", metavar="JARS", help="folder with the CoreNLP jars that SPICE needs")
    parser.add_argument("overrides", nargs="*", help="settings of every run, e.g. run.threads=2")
    args = parser.parse_args()
    rows, notes, labels = [], {}, {}
    for name in args.sets:
        for key in args.methods:
            method = METHODS[key]
            documents = measure(name, method, args)
            if isinstance(documents, str):
                notes[f"{method.title} on {TITLES[name]}: {documents}."] = "failed"
                continue
            rows.append(Row(tuple(cells(method, documents)), TITLES[name]))
            for document in documents:
                labels |= {measure: fact["label"] for measure, fact in document["metrics"].items()}
                notes |= {f"{metric} not run: {why}": "left out" for metric, why in document["not_run"].items()}
    columns = [
        Column("method", is_label=True),
        Column("n", is_label=True),
        *(Column(labels.get(key, key)) for key in MEASURES),
        Column("s a caption"),
    ]
    print(render([Table("methods with the embedded models", tuple(columns), tuple(rows), tuple(notes))], "markdown"), end="")
    return 1 if "failed" in notes.values() else 0


if __name__ == "__main__":
    sys.exit(main())
