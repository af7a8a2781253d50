"""Which row of the paper's tables a file or a run is. Unsure means None: the user names the row."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from magic_cli.reports.paper import load_paper

# folders of the authors' files, and of copies of them
_SECTIONS = {
    "coco": "coco",
    "mscoco": "coco",
    "flickr30k": "flickr30k",
    "mscoco_model_to_flickr30k": "coco_to_flickr30k",
    "flickr30k_model_to_mscoco": "flickr30k_to_coco",
}
_IN_A_SECTION = re.compile(r"(magic|contrastive|zerocap)_result|(top_k|nucleus)_result_run_\d")
_BY_NAME = {
    "mscoco_in_domain_clipretrieval": "coco/clipre",
    "flickr30k_in_domain_clipretrieval": "flickr30k/clipre",
    "source_mscoco_target_flickr30k_clip_retrieval": "coco_to_flickr30k/clipre",
    "source_flickr30k_target_mscoco_clip_retrieval": "flickr30k_to_coco/clipre",
    "contrastive_k_5_alpha_0.6_result": "story/contrastive",
    "magic_k_5_alpha_0.6_beta_0.15_result": "story/magic",
}

# settings of the paper's runs, as a manifest's identity has them
_COCO_MODEL = {"language_model.name": "cambridgeltl/magic_mscoco", "decoding.decoding_len": 16}
_FLICKR30K_MODEL = {"language_model.name": "cambridgeltl/magic_flickr30k", "decoding.decoding_len": 20}
_COCO_CANDIDATES, _FLICKR30K_CANDIDATES = {"decoding.k": 45, "decoding.alpha": 0.1}, {"decoding.k": 25, "decoding.alpha": 0.1}
_DATASETS = {
    "coco": ("coco", _COCO_MODEL, _COCO_CANDIDATES),
    "flickr30k": ("flickr30k", _FLICKR30K_MODEL, _FLICKR30K_CANDIDATES),
    "coco_to_flickr30k": ("flickr30k", _COCO_MODEL, _COCO_CANDIDATES),
    "flickr30k_to_coco": ("coco", _FLICKR30K_MODEL, _FLICKR30K_CANDIDATES),
}
_METHODS = {
    "magic": {
        "decoding.beta": 2.0,
        "decoding.clip_text": "generated",
        "decoding.clip_text_window": 60,
        "decoding.similarity": "scaled_cosine",
        "image_text_model.name": "openai/clip-vit-base-patch32",
        "image_text_model.family": "huggingface_clip",
        "image_text_model.revision": "main",
    },
    "contrastive": {},
    "top_k": {"decoding.k": 40, "decoding.temperature": 1.0},
    "nucleus": {"decoding.p": 0.95, "decoding.temperature": 1.0},
}
_ALL = {
    "task": "caption",
    "dataset.split": "test",
    "language_model.revision": "main",
    "language_model.clean_up_spaces": True,
    "language_model.trust_remote_code": False,
    "run.dtype": "float32",
}
# where the data lies, which images are left out (a note tells n), how it is computed, which run of several it is
_FREE = {
    "dataset.annotations", "dataset.root", "dataset.skip_greyscale", "dataset.apply_exif_orientation",
    "language_model.look_ahead", "run.seed", "run.repeat",
}  # fmt: skip


def recognise(path: Path, manifest_identity: Mapping[str, Any] | None = None) -> str | None:
    """The row id of a released file, by its name and folder, or of a run, by its settings.

    Args:
        path: The file; with an identity, the run's folder, whose name then means nothing.
        manifest_identity: ``identity`` of the run's manifest.json.

    Returns:
        An id of paper.yaml's rows; None if it is none of them, or not surely one.
    """
    row = _of_file(path) if manifest_identity is None else _of_run(manifest_identity)
    return row if row in load_paper().rows else None


def _of_file(path: Path) -> str | None:
    name = path.name.removesuffix(".gz").removesuffix(".json")
    if name == path.name.removesuffix(".gz"):
        return None  # no JSON file
    if name in _BY_NAME:
        return _BY_NAME[name]
    folders = [part for part in path.absolute().parts[:-1] if part != "baselines"]
    found = _IN_A_SECTION.fullmatch(name)
    section = _SECTIONS.get(folders[-1])
    return f"{section}/{found[1] or found[2]}" if found and section else None


def _of_run(identity: Mapping[str, Any]) -> str | None:
    settings = dict(flat(identity))
    method = settings.pop("decoding.method", None)
    if method not in _METHODS:
        return None
    for section, (dataset, model, candidates) in _DATASETS.items():
        wanted = _ALL | {"dataset.name": dataset} | model | _METHODS[method]
        if method in ("magic", "contrastive"):
            wanted |= candidates
        others = settings.keys() - wanted.keys() - _FREE
        if all(settings.get(key) == value for key, value in wanted.items()) and all(settings[key] is None for key in others):
            return f"{section}/{method}"
    return None


def flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """``{"decoding": {"k": 5}}`` -> ``("decoding.k", 5)``."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
