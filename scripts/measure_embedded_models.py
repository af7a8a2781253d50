"""How good the embedded models' captions are: BLEU-4, METEOR and CIDEr of MAGIC, contrastive search and retrieval.

    python scripts/measure_embedded_models.py --photos DIR

DIR has one folder a set, each a COCO-format captions.json and images/ (coco_karpathy_test, flickr8k). Retrieval returns,
for each photo, the best of a random sample of COCO's training captions by the same image-text model.
"""

import argparse
import contextlib
import io
import json
import random
import sys
from pathlib import Path

import torch

from magic_cli.cli.main import main as magic
from magic_cli.cli.stopping import INTERRUPTED
from magic_cli.data.bundled_coco import load_bundled_coco_captions
from magic_cli.data.images import open_image
from magic_cli.models.embedded.image_text_model import EmbeddedImageTextModel

SETS = {"coco_karpathy_test": None, "flickr8k": 200}
"""Photo sets, and how many of their test photos are captioned here (None: all)."""


def words_of(photos: Path, name: str, limit: int | None) -> list[str]:
    """The test photos of a set, as words of ``magic caption``."""
    root = photos / name
    words = [
        "--dataset",
        "coco_captions",
        f"dataset.annotations={root / 'captions.json'}",
        f"dataset.root={root / 'images'}",
        "dataset.split=test",
    ]
    return words if limit is None else [*words, f"dataset.limit={limit}"]


def quietly(words: list[str]) -> int:
    """Exit status of ``magic``, whose stdout is not shown; Ctrl-C ends the script, and not only the command that it strikes."""
    with contextlib.redirect_stdout(io.StringIO()):
        status = magic(words)
    if status == INTERRUPTED:
        sys.exit(status)
    return status


def run(words: list[str], folder: Path) -> list[dict]:
    """Predictions of ``magic caption``."""
    if status := quietly(["caption", *words, f"run.dir={folder}"]):
        sys.exit(f"magic caption exited with {status}")
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]


def retrieve(records: list[dict], captions: list[str], texts: torch.Tensor, matcher: EmbeddedImageTextModel) -> dict[str, str]:
    """The best of ``captions`` for every photo."""
    found = {}
    for record in records:
        image = matcher.encode_images([open_image(Path(record["image"]))])
        found[record["id"]] = captions[int((texts @ torch.nn.functional.normalize(image, dim=-1).T).argmax())]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs/measure"))
    parser.add_argument("--retrieval-captions", type=int, default=20000, help="size of the sample; 0: no retrieval")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("overrides", nargs="*", help="settings of MAGIC, e.g. decoding.beta=1")
    args = parser.parse_args()
    matcher, captions, texts = None, [], None
    if args.retrieval_captions:
        matcher = EmbeddedImageTextModel.load()
        everything = [c for group in load_bundled_coco_captions().values() for c in group]
        captions = random.Random(0).sample(everything, args.retrieval_captions)
        texts = torch.nn.functional.normalize(matcher.encode_texts(captions), dim=-1)
    for name in args.sets:
        words = words_of(args.photos, name, SETS[name])
        label = "-".join([name, *args.overrides]).replace("/", "_")
        systems = [args.runs / f"{label}-magic", args.runs / f"{name}-contrastive"]
        records = run([*words, *args.overrides], systems[0])
        run([*words, "decoding=contrastive"], systems[1])
        if matcher is not None:
            systems.append(args.runs / f"{name}-retrieval.jsonl")
            found = retrieve(records, captions, texts, matcher)
            lines = ({"id": r["id"], "caption": found[r["id"]], "references": r["references"]} for r in records)
            systems[-1].write_text("".join(json.dumps(line) + "\n" for line in lines))
        if magic(["evaluate", *map(str, systems), "--metrics", "bleu,meteor,cider"]):
            sys.exit("magic evaluate failed")


if __name__ == "__main__":
    main()
