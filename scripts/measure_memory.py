"""What a memory of captions is worth: CIDEr, seconds and texts a caption of MAGIC without and with it, on development photos.

    python scripts/measure_memory.py --photos DIR [--variants image same ...] [-- decoding.beta=1 run.threads=1]

DIR has one folder a set (coco, flickr8k), each a COCO-format captions.json and images/; photos of the split val are captioned, by
the embedded models unless others are named. Memories: COCO's first 100,000 training captions, which come with pycocoevalcap, and those
of Flickr8k's training photos; a photo's own captions are never recalled. Markdown goes to stdout; started again it goes on where it stopped.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from magic_cli.models import loading  # noqa: F401 - imports no run's seconds should hold
from measure_embedded_models import quietly

SETS = {"coco": None, "flickr8k": 150}
"""Photo sets, and how many of their val photos are captioned (None: all)."""
MEMORY = ("decoding=magic_memory",)
VARIANTS = {
    "image": (None, ("decoding=magic",)),
    "same": ("same", MEMORY),
    "other": ("other", MEMORY),
    "same-replace": ("same", (*MEMORY, "guides.memory.use=replace")),
    "same-beside": ("same", (*MEMORY, "guides.memory.use=beside")),
    "other-beside": ("other", (*MEMORY, "guides.memory.use=beside")),
}
"""Rows: the memory's domain, and settings."""


def memory_of(photos: Path, name: str, domain: str | None) -> list[str]:
    """Settings of the memory of a set's own domain, or of the other one's."""
    if domain is None:
        return []
    is_coco = (name == "coco") == (domain == "same")
    return ["guides.memory.limit=100000"] if is_coco else [f"guides.memory.captions_file={photos / 'flickr8k' / 'captions.json'}"]


def measure(name: str, variant: str, args: argparse.Namespace) -> dict[str, Any]:
    """The manifest's last session and CIDEr of one run."""
    domain, words = VARIANTS[variant]
    root = args.photos / name
    words = [*words, *memory_of(args.photos, name, domain), *args.overrides]
    if domain is None:
        words = [word for word in words if not word.startswith("guides.")]
    limit = [] if SETS[name] is None else [f"dataset.limit={SETS[name]}"]
    dataset = [
        "--dataset",
        "coco_captions",
        f"dataset.annotations={root / 'captions.json'}",
        f"dataset.root={root / 'images'}",
        "dataset.split=val",
    ]
    models = ["language_model=embedded", "image_text_model=embedded"]
    folder = args.runs / f"{name}-{variant}-{hashlib.sha256(' '.join(words).encode()).hexdigest()[:8]}"
    if status := quietly(["caption", *dataset, *limit, *models, *words, f"run.dir={folder}"]):
        sys.exit(f"magic caption ended with status {status}")
    if not (folder / "metrics.json").is_file() and quietly(["evaluate", str(folder), "--metrics", "cider"]):
        sys.exit("magic evaluate failed")
    manifest, metrics = (json.loads((folder / file).read_text()) for file in ("manifest.json", "metrics.json"))
    sessions = manifest["sessions"]
    phases = {
        phase: sum(one.get("phase_seconds", {}).get(phase, 0) for one in sessions)
        for phase in ("language_model", "image_text_model", "memory", "index")
    }
    counts = {
        count: sum(one.get("work", {}).get(count, 0) for one in sessions) for count in ("texts_encoded", "captions_excluded")
    }
    return {"n": metrics["n"], "cider": 100 * metrics["metrics"]["cider"]["value"], "folder": folder, **phases, **counts}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs/measure_memory"))
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument(
        "overrides", nargs="*", help="settings of every run, e.g. decoding.beta=1; those of guides only where there are any"
    )
    args = parser.parse_args()
    print(
        f"{' '.join(args.overrides)}\n\n| photos | n | steered by | CIDEr | ms recalling a caption | texts a caption | own captions left out |\n| --- | --- | --- | ---: | ---: | ---: | ---: |"
    )
    for name in args.sets:
        for variant in args.variants:
            found = measure(name, variant, args)
            n = found["n"]
            print(
                f"| {name} | {n} | {variant} | {found['cider']:.1f} | {1000 * found['memory'] / n:.1f} | {found['texts_encoded'] / n:.0f} | {found['captions_excluded']} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
