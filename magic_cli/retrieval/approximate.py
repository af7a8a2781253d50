"""FAISS' approximate indexes. Each is kept as a file beside the features that it was built from.

    <kind>-<settings>.faiss    the index, with features in float16
    <kind>-<settings>.json     its features, its settings, its SHA-256, seconds of the build

Memory during a build: 2 E + 8 bytes per feature for ivf, 2 E + 8 m + 8 bytes for hnsw (E numbers per feature), and
``sample`` x E x 4 bytes to train the cells. In a search, ivf's cells stay on disk, memory-mapped; hnsw's graph is in memory.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from magic_cli.data.json_text import JSONFault, parse_object
from magic_cli.errors import MagicError
from magic_cli.files import hold, sha256, write_atomically
from magic_cli.retrieval.features import Features
from magic_cli.retrieval.settings import IndexSettings
from magic_cli.terminal.progress import progress
from magic_cli.terminal.wording import counted

_SAMPLE_PER_CELL = 64  # features that train a cell; k-means gains little from more
_ADD_AT_ONCE = 65_536


class Approximate:
    """An ivf or hnsw index, read from its file. If that is missing, damaged or belongs to other features, it is built first.

    Args:
        features: The features to search.
        settings: Kind of index.
    """

    is_exact = False

    def __init__(self, features: Features, settings: IndexSettings) -> None:
        self.file = index_file(features, settings)
        if not is_current(self.file, features):
            _refuse_read_only(self.file, settings)
            with hold(features.folder / ".lock", tell=lambda _: None):  # FeatureWriter's; points of a sweep run side by side
                if not is_current(self.file, features, tell=False):  # another process may have built it meanwhile
                    print(f"magic: building {self.file.name} over {counted(features.rows, 'feature')}", file=sys.stderr)
                    build(features, settings, self.file)
        flags = faiss.IO_FLAG_MMAP if settings.kind == "ivf" else 0
        self._index = _read(self.file, flags)
        if settings.kind == "ivf":
            self._index.nprobe = min(settings.nprobe, self._index.nlist)
        else:
            self._index.hnsw.efSearch = settings.ef

    def top(self, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """As ``search.Candidates``."""
        return self._index.search(queries, count)


def _read(file: Path, flags: int) -> Any:
    """The index, of the kind that was written."""
    try:
        return faiss.read_index(str(file), flags)
    except RuntimeError as error:
        raise MagicError(
            f"{file}: FAISS cannot read it ({str(error).splitlines()[0][:120]}); delete it; it is then built again"
        ) from error


def _refuse_read_only(file: Path, settings: IndexSettings) -> None:
    if not os.access(file.parent, os.W_OK | os.X_OK):
        raise MagicError(
            f"{file}: must be built, but its folder cannot be written; set {settings.setting}.kind=exact, or build it where the folder can be written"
        )


def index_file(features: Features, settings: IndexSettings) -> Path:
    """The file of the index with these settings."""
    built_with = built_settings(features, settings)
    return features.folder / ("-".join([settings.kind, *(f"{name}{value}" for name, value in built_with.items())]) + ".faiss")


def built_settings(features: Features, settings: IndexSettings) -> dict[str, Any]:
    """The settings that the index is built with; those that depend on the number of features are filled in."""
    built_with = settings.built_with
    if settings.kind == "ivf":
        built_with["nlist"] = min(settings.nlist or max(1, round(4 * math.sqrt(features.rows))), features.rows)
    return built_with


def is_current(file: Path, features: Features, *, tell: bool = True) -> bool:
    """Whether an index file is whole and belongs to the features; if it is not, ``tell`` prints the reason on stderr."""
    try:
        facts = parse_object(file.with_suffix(".json").read_text(encoding="utf-8"))
        if facts["features"] != features.digest:
            problem = "belongs to other features"
        elif sha256(file) != facts["sha256"]:
            problem = "is damaged"
        else:
            return True
    except FileNotFoundError:
        return False
    except (JSONFault, UnicodeDecodeError, KeyError, TypeError):
        problem = "has a damaged description"
    if tell:
        print(f"magic: {file}: {problem}; it is built again", file=sys.stderr)
    return False


def build(features: Features, settings: IndexSettings, file: Path) -> dict[str, Any]:
    """Train on a sample, add all features block by block, write atomically; returns the content of the .json file.

    With one thread the file is the same every time. hnsw with several threads is not: they race for the graph.
    """
    began, built_with = time.perf_counter(), built_settings(features, settings)
    index: Any
    if settings.kind == "ivf":
        index = faiss.IndexIVFScalarQuantizer(
            faiss.IndexFlatIP(features.dim),
            features.dim,
            built_with["nlist"],
            faiss.ScalarQuantizer.QT_fp16,
            faiss.METRIC_INNER_PRODUCT,
        )
        index.by_residual = False  # the features themselves in float16
        index.cp.min_points_per_centroid = 1  # else FAISS warns on stdout about small sets
        index.cp.spherical = True
        index.train(sample(features, built_with["nlist"] * _SAMPLE_PER_CELL))
    else:
        number_type: Any = faiss.ScalarQuantizer.QT_fp16  # a plain number, which FAISS' own annotations do not know
        index = faiss.IndexHNSWSQ(features.dim, number_type, built_with["m"], faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = built_with["ef_construction"]
        index.train(sample(features, 1))
    with progress(features.rows, settings.kind, "feature", leave=False) as bar:
        for _, block in features.blocks(_ADD_AT_ONCE):
            index.add(block)
            bar.update(len(block))
    temporary = file.with_name(f".{file.name}.tmp")
    faiss.write_index(index, str(temporary))
    facts = {
        "kind": settings.kind, **built_with, "features": features.digest, "sha256": sha256(temporary), "faiss": faiss.__version__,
        "threads": faiss.omp_get_max_threads(), "seconds": round(time.perf_counter() - began, 3),
    }  # fmt: skip
    temporary.replace(file)
    write_atomically(file.with_suffix(".json"), json.dumps(facts, indent=2) + "\n")
    return facts


def sample(features: Features, count: int) -> np.ndarray:
    """(at most ``count``, E) float32 features at even distances; the same ones each time."""
    if count >= features.rows:
        numbers = np.arange(features.rows)
    else:
        seed = int.from_bytes(hashlib.sha256(features.digest.encode()).digest()[:8], "big")
        numbers = np.sort(np.random.default_rng(seed).choice(features.rows, count, replace=False))
    return features.take(numbers).astype(np.float32)
