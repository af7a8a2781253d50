"""What a memory of captions and a beam are worth beside MAGIC: CIDEr with paired tests, seconds and texts a caption, on real photos.

    python scripts/measure_memory.py --photos DIR [--split test] [--variants image same ...] [-- run.threads=1]

DIR has one folder a set (coco, flickr8k, coco_karpathy_test), each a COCO-format captions.json and images/. Photos of the split val
are captioned (settings are chosen on these) or of the split test, by the embedded models unless others are named. Memories: COCO's
first 100,000 training captions, which come with pycocoevalcap, and those of Flickr8k's training photos; a photo's own captions are
never recalled. Markdown goes to stdout; started again it goes on where it stopped.
"""

import argparse
import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any

from magic_cli.models import loading  # noqa: F401 - imports no run's seconds should hold
from measure_embedded_models import quietly

SETS = {"val": ("coco", "flickr8k"), "test": ("coco_karpathy_test", "flickr8k")}
MEMORY, BEAM = ("decoding=magic_memory",), ("decoding=magic_beam",)
BEAM_MEMORY = (*BEAM, "decoding.guides=[image,memory]")
VARIANTS = {
    "image": (None, ("decoding=magic",)),
    "same": ("same", MEMORY),
    "other": ("other", MEMORY),
    "beam": (None, BEAM),
    "beam-same": ("same", BEAM_MEMORY),
    "beam-other": ("other", BEAM_MEMORY),
    "same-words": ("same", (*MEMORY, "guides.memory.words=10")),
    "other-words": ("other", (*MEMORY, "guides.memory.words=10")),
    "same-replace": ("same", (*MEMORY, "guides.memory.use=replace")),
    "same-beside": ("same", (*MEMORY, "guides.memory.use=beside")),
    "other-beside": ("other", (*MEMORY, "guides.memory.use=beside")),
}
"""Rows: the memory's domain, and settings. The first that is measured is what the others are compared with."""
COST = "cost.json"
"""Of a run: seconds of this process' CPU, models and index included."""


def memory_of(photos: Path, name: str, domain: str | None) -> list[str]:
    """Settings of the memory of a set's own domain, or of the other one's."""
    if domain is None:
        return []
    is_coco = name.startswith("coco") == (domain == "same")
    return ["guides.memory.limit=100000"] if is_coco else [f"guides.memory.captions_file={photos / 'flickr8k' / 'captions.json'}"]


def caption(name: str, variant: str, args: argparse.Namespace) -> Path:
    """The folder of one run."""
    domain, words = VARIANTS[variant]
    root = args.photos / name
    words = [*words, *memory_of(args.photos, name, domain), *args.overrides]
    if domain is None:
        words = [word for word in words if not word.startswith("guides.")]
    limit = [] if args.limit is None else [f"dataset.limit={args.limit}"]
    dataset = [
        "--dataset",
        "coco_captions",
        f"dataset.annotations={root / 'captions.json'}",
        f"dataset.root={root / 'images'}",
        f"dataset.split={args.split}",
    ]
    words = ["language_model=embedded", "image_text_model=embedded", *limit, *words]
    digest = hashlib.sha256(" ".join(words).encode()).hexdigest()[:8]
    folder = args.runs / f"{name}-{args.split}-{variant}-{digest}"
    start, is_new = time.process_time(), not (folder / "manifest.json").is_file()
    if status := quietly(["caption", *dataset, *words, f"run.dir={folder}"]):
        sys.exit(f"magic caption ended with status {status}")
    if is_new:
        (folder / COST).write_text(json.dumps({"cpu_seconds": time.process_time() - start}))
    return folder


def compare(folders: list[Path], args: argparse.Namespace) -> dict[str, dict[str, dict[str, Any]]]:
    """Of every run but the first one: by measure, the row of comparison.json."""
    output = args.runs / f"comparison-{hashlib.sha256(' '.join(map(str, [*folders, args.judge])).encode()).hexdigest()[:8]}"
    judge = ["image_text_model=embedded", f"image_text_model.path={args.judge}"] if args.judge else []
    metrics = "cider,clip_score" if args.judge else "cider"
    words = ["evaluate", *map(str, folders), "--compare", "--metrics", metrics, "--output", str(output), *judge]
    if quietly(words):
        sys.exit("magic evaluate failed")
    rows = json.loads(next(output.rglob("comparison.json")).read_text())["measures"]
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["second_system"], {})[row["measure"]] = row
        found.setdefault(row["first_system"], {})[row["measure"]] = {"second": row["first"]}
    return found


def costs(folder: Path) -> str:
    """Cells: milliseconds recalling, texts encoded and CPU seconds, each a caption, and own captions left out."""
    manifest = json.loads((folder / "manifest.json").read_text())
    n, sessions = sum(1 for _ in (folder / "predictions.jsonl").open()), manifest["sessions"]
    memory = sum(one.get("phase_seconds", {}).get("memory", 0) for one in sessions)
    texts, own = (sum(one.get("work", {}).get(count, 0) for one in sessions) for count in ("texts_encoded", "captions_excluded"))
    cost = json.loads((folder / COST).read_text())["cpu_seconds"] if (folder / COST).is_file() else float("nan")
    return f"{1000 * memory / n:.1f} | {texts / n:.0f} | {cost / n:.3f} | {own}"


def shown(row: dict[str, Any], scale: float) -> str:
    """Cells: a value, and its difference from the first run's with interval and p."""
    value = f"{scale * row['second']:.1f}"
    if "difference" not in row:
        return f"{value} | "
    difference, low, high = (f"{scale * row[key]:+.1f}" for key in ("difference", "low", "high"))
    return f"{value} | {difference} ({low} to {high}), p {row['p_holm']:.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs/measure_memory"))
    parser.add_argument("--split", choices=list(SETS), default="val")
    parser.add_argument("--limit", type=int, help="only the first so many photos of each set")
    parser.add_argument("--sets", nargs="+", help="of the split's sets, only these")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS)[:6], choices=list(VARIANTS))
    parser.add_argument("--judge", type=Path, help="folder of another image-text model (embedded kind): CLIPScore by it")
    parser.add_argument(
        "overrides", nargs="*", help="settings of every run, e.g. decoding.beta=1; those of guides only where there are any"
    )
    args = parser.parse_args()
    judged = "CLIPScore | less the first's | " if args.judge else ""
    print(
        f"{' '.join(args.overrides)}\n\n| photos | n | steered by | CIDEr | less the first's | {judged}ms recalling | texts | CPU s | own captions left out |\n"
        f"| --- | --- | --- | ---: | --- | {'---: | --- | ' if args.judge else ''}---: | ---: | ---: | ---: |"
    )
    for name in args.sets or SETS[args.split]:
        folders = {variant: caption(name, variant, args) for variant in args.variants}
        found = compare(list(folders.values()), args)
        for variant, folder in folders.items():
            rows = found[folder.name]
            n = sum(1 for _ in (folder / "predictions.jsonl").open())
            measures = [shown(rows["cider"], 100)] + ([shown(rows["clip_score"], 100)] if args.judge else [])
            print(f"| {name} | {n} | {variant} | {' | '.join(measures)} | {costs(folder)} |", flush=True)


if __name__ == "__main__":
    main()
