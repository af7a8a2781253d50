"""What retrieval costs and finds: build seconds, query milliseconds, bytes, memory, recall of the approximate indexes.

    python scripts/measure_retrieval.py captions --count 100000 --photos DIR      CLIPRe's index of COCO's training captions
    python scripts/measure_retrieval.py images --photos DIR                       an index of all photos below DIR
    python scripts/measure_retrieval.py vectors --count 3300000                   random vectors of the embedded model's size

Recall is against the exact index: of the best k, how many the approximate index finds. Queries are photos for captions, COCO's
training captions for images. Random vectors have no structure, which is the hardest case for an approximate index: their
recall says little of real features'. All parts go on where they stopped; --folder keeps the indexes.
"""

import argparse
import json
import multiprocessing
import random
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from magic_cli.data.bundled_coco import load_bundled_coco_captions
from magic_cli.data.image_folders import find_images
from magic_cli.data.images import open_image, quiet_pillow
from magic_cli.models.embedded.image_text_model import EmbeddedImageTextModel
from magic_cli.models.settings import Family, ImageTextModelSettings
from magic_cli.models.sources import EMBEDDED_FOLDER
from magic_cli.retrieval import approximate, search
from magic_cli.retrieval.bank import list_images
from magic_cli.retrieval.caption_index import build_text_features, encode_by_length
from magic_cli.retrieval.captions import load_captions, texts_digest
from magic_cli.retrieval.clipre import CaptionRetrieval
from magic_cli.retrieval.features import Features
from magic_cli.retrieval.image_settings import ReadingMachineSettings, RetrieveImagesAction, RetrieveImagesSettings
from magic_cli.retrieval.settings import IndexSettings
from magic_cli.retrieval.store import FeatureWriter
from magic_cli.runs.image_bank import build_index

_BLOCK = 65_536


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("captions", "images", "vectors"))
    parser.add_argument("--count", type=int, help="captions (default 100000) or vectors (default 3300000)")
    parser.add_argument("--photos", type=Path, help="folder of photos")
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--kinds", nargs="+", default=["ivf", "hnsw"], choices=["ivf", "hnsw"])
    parser.add_argument("--nprobe", type=int, nargs="+", default=[8, 16, 32, 64])
    parser.add_argument("--ef", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("runs/measure-retrieval"))
    args = parser.parse_args()
    if args.part != "vectors" and args.photos is None:
        parser.error("--photos is needed")
    torch.set_num_threads(args.threads)
    quiet_pillow()
    measure = {"captions": of_captions, "images": of_images, "vectors": of_vectors}[args.part]
    began = time.perf_counter()
    features, queries = measure(args)
    report = {
        "part": args.part, "threads": args.threads, "rows": features.rows, "dim": features.dim, "queries": len(queries),
        "features": {"seconds": round(time.perf_counter() - began, 1), "mib": mib(*features.folder.glob("features-*.bin"))},
        "indexes": list(compare(features, queries, args)),
    }  # fmt: skip
    (args.folder / f"{args.part}.json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


def of_captions(args: argparse.Namespace) -> tuple[Features, np.ndarray]:
    """Features of COCO's first training captions, and of photos as queries."""
    matcher, settings = EmbeddedImageTextModel.load(), CaptionRetrieval(limit=args.count or 100_000)
    texts, folder = load_captions(settings).texts, args.folder / f"captions-{args.count or 100_000}"
    encode = lambda pieces: (encode_by_length(matcher, piece) for piece in pieces)
    build_text_features(settings, folder, texts, encode, {"kind": "texts", "texts": texts_digest(texts)})
    photos = find_images(args.photos).paths
    photos = random.Random(0).sample(photos, min(args.queries, len(photos)))
    queries = [matcher.encode_images([open_image(photo)]) for photo in photos]
    return Features(folder, "--folder"), torch.cat(queries).numpy()


def of_images(args: argparse.Namespace) -> tuple[Features, np.ndarray]:
    """Features of all photos, and of captions as queries."""
    model = ImageTextModelSettings(name="embedded", family=Family.embedded)
    machine = ReadingMachineSettings(batch_size=32, threads=args.threads)
    index = str(args.folder / "images")
    settings = RetrieveImagesSettings(model, RetrieveImagesAction.build, [str(args.photos)], index, run=machine)
    features, _ = build_index(settings, list_images(settings.files, limit=None))
    captions = [caption for captions in load_bundled_coco_captions().values() for caption in captions]
    texts = random.Random(0).sample(captions, args.queries)
    return features, encode_by_length(EmbeddedImageTextModel.load(), texts)


def of_vectors(args: argparse.Namespace) -> tuple[Features, np.ndarray]:
    """Random features of the size of the embedded model's, written as an index of images is; and random queries."""
    count, dim = args.count or 3_300_000, json.loads((EMBEDDED_FOLDER / "matcher" / "config.json").read_text())["embedding"]
    folder = args.folder / f"vectors-{count}"
    with FeatureWriter(folder, "--folder", {"kind": "random vectors", "count": count, "dim": dim}, dtype="float16") as store:
        for start in range(store.inputs_done, count, _BLOCK):
            rows = min(_BLOCK, count - start)
            block = np.random.default_rng(start).standard_normal((rows, dim), dtype=np.float32)
            store.add(block, [{"id": str(start + i)} for i in range(rows)], [], inputs=rows)
        if not store.is_complete:
            store.finish()
    return Features(folder, "--folder"), np.random.default_rng(-1 % 2**32).standard_normal((args.queries, dim), dtype=np.float32)


def compare(features: Features, queries: np.ndarray, args: argparse.Namespace) -> Iterator[dict[str, object]]:
    """The exact index, in memory and from disk, and the approximate ones at several settings, each in a process of its own."""
    best = None
    for gib in (64.0, 0.0):
        numbers, facts = in_a_process(search_once, features.folder, IndexSettings(memory_gib=gib), queries, args.threads)
        best = numbers if best is None else best
        yield {"kind": "exact", "in_memory": gib > 0, **facts, "same_as_first": bool(np.array_equal(best, numbers))}
    for kind in args.kinds:
        tell(f"building {kind}")
        facts = in_a_process(build_once, features.folder, IndexSettings(kind=kind), args.threads)
        yield {"kind": kind, **facts}
        for name, values in {"ivf": {"nprobe": args.nprobe}, "hnsw": {"ef": args.ef}}[kind].items():
            for value in values:
                settings = IndexSettings(kind=kind, **{name: value})
                numbers, facts = in_a_process(search_once, features.folder, settings, queries, args.threads)
                yield {
                    "kind": kind,
                    name: value,
                    "recall_at_1": recall(numbers, best, 1),
                    "recall_at_10": recall(numbers, best, 10),
                    **facts,
                }


def in_a_process(function, *arguments):
    """What a function returns in a fresh process, so that the peak of its memory is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def build_once(folder: Path, settings: IndexSettings, threads: int) -> dict[str, object]:
    """Build an approximate index, or find it built."""
    features = Features(folder, "--folder", check=False)
    search.open_search(features, settings, threads=threads)
    file = approximate.index_file(features, settings)
    seconds = json.loads(file.with_suffix(".json").read_text())["seconds"]
    return {"file": file.name, "mib": mib(file), "build_seconds": seconds, "peak_ram_mib": peak()}


def search_once(folder: Path, settings: IndexSettings, queries: np.ndarray, threads: int) -> tuple[np.ndarray, dict[str, object]]:
    """Numbers of the best 10 rows of all queries, and what finding them took."""
    began = time.perf_counter()
    index = search.open_search(Features(folder, "--folder", check=False), settings, threads=threads)
    opened = time.perf_counter()
    _, numbers = index.best(queries, 10)
    together, alone = time.perf_counter() - opened, []
    for row in queries[:20]:
        began_one = time.perf_counter()
        index.best(row[None], 10)
        alone.append(time.perf_counter() - began_one)
    return numbers, {
        "open_seconds": round(opened - began, 3),
        "query_ms_together": round(1000 * together / len(queries), 3),
        "query_ms_alone": round(1000 * float(np.median(alone)), 3),
        "peak_ram_mib": peak(),
    }


def recall(found: np.ndarray, best: np.ndarray, count: int) -> float:
    """Mean share of the best ``count`` that was found among as many."""
    return round(float(np.mean([len(set(a[:count]) & set(b[:count])) / count for a, b in zip(found, best, strict=True)])), 4)


def mib(*files: Path) -> float:
    return round(sum(file.stat().st_size for file in files) / 2**20, 1)


def peak() -> int:
    """The most memory that this process has held, in MiB, imports (about 300) and looked-at pages of mapped files included."""
    status = Path("/proc/self/status").read_text()  # ru_maxrss would inherit the parent's
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) // 1024


def tell(note: str) -> None:
    print(f"measure: {note}", file=sys.stderr)


if __name__ == "__main__":
    main()
