"""Recognises the row of the paper's tables that a file or a run belongs to. In doubt the answer is None: the user names it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from magic_cli.data.paths import ending, unpacked_name
from magic_cli.reports.paper import load_paper

# folders of the authors' files, and of copies
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

# settings of the paper's runs, as in the identity of a manifest
_COCO_MODEL = {"language_model.name": "cambridgeltl/magic_mscoco", "decoding.decoding_len": 16}
_FLICKR30K_MODEL = {"language_model.name": "cambridgeltl/magic_flickr30k", "decoding.decoding_len": 20}
_COCO_CANDIDATES, _FLICKR30K_CANDIDATES = {"decoding.k": 45, "decoding.alpha": 0.1}, {"decoding.k": 25, "decoding.alpha": 0.1}
_DATASETS = {
    "coco": ("coco", _COCO_MODEL, _COCO_CANDIDATES),
    "flickr30k": ("flickr30k", _FLICKR30K_MODEL, _FLICKR30K_CANDIDATES),
    "coco_to_flickr30k": ("flickr30k", _COCO_MODEL, _COCO_CANDIDATES),
    "flickr30k_to_coco": ("coco", _FLICKR30K_MODEL, _FLICKR30K_CANDIDATES),
}
_CLIP = {
    "image_text_model.name": "openai/clip-vit-base-patch32",
    "image_text_model.family": "huggingface_clip",
    "image_text_model.revision": "main",
}
_METHODS: dict[str, dict[str, Any]] = {
    "magic": _CLIP
    | {
        "decoding.beta": 2.0,
        "decoding.clip_text": "generated",
        "decoding.clip_text_window": 60,
        "decoding.similarity": "scaled_cosine",
    },
    "zerocap": _CLIP
    | {
        "decoding.decoding_len": 17,  # 16 new tokens, whatever the language model
        "decoding.prompt": "<|endoftext|>Image of a",
        "decoding.num_beams": 1,
        "decoding.num_iterations": 5,
        "decoding.num_texts": 512,
        "decoding.clip_loss_temperature": 0.01,
        "decoding.clip_scale": 1.0,
        "decoding.ce_scale": 0.2,
        "decoding.step_size": 0.3,
        "decoding.grad_norm_factor": 0.9,
        "decoding.fusion_factor": 0.99,
        "decoding.repetition_penalty": 1.0,
        "decoding.end_token": ".",
        "decoding.first_end_factor": 1.6,
        "decoding.end_factor": 1.01,
        "decoding.forbidden_factor": 20.0,
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
_STORIES: dict[str, Any] = {
    "task": "story",
    "dataset.name": "rocstories",
    "language_model.name": "cambridgeltl/simctg_rocstories",
    "language_model.revision": "main",
    "language_model.clean_up_spaces": True,
    "language_model.trust_remote_code": False,
    "decoding.decoding_len": 100,
    "run.dtype": "float32",
}
_STORY_CANDIDATES: dict[str, Any] = {"decoding.k": 5, "decoding.alpha": 0.6}
_STORY_METHODS: dict[str, dict[str, Any]] = {
    "magic": _METHODS["magic"] | _STORY_CANDIDATES | {"decoding.beta": 0.15},
    "contrastive": _STORY_CANDIDATES,
    "greedy": {},
    "beam": {"decoding.num_beams": 10, "decoding.length_penalty": 1.0},
    "top_k": _METHODS["top_k"],
    "nucleus": _METHODS["nucleus"],
    "typical": {"decoding.mass": 0.2, "decoding.temperature": 1.0},
}
# CLIPRe: (data set, captions) of each section, row of each index; another image-text model than the paper's is another row
_RETRIEVAL = {
    ("coco", "coco"): "coco",
    ("flickr30k", "flickr30k"): "flickr30k",
    ("flickr30k", "coco"): "coco_to_flickr30k",
    ("coco", "flickr30k"): "flickr30k_to_coco",
}
_INDEXES = {"released-128": "clipre", "full": "clipre_full"}
_RETRIEVAL_SETTINGS = {
    "task": "caption",
    "dataset.split": "test",
    "decoding.split": "train",
    "decoding.kind": "exact",
    "image_text_model.name": "openai/clip-vit-base-patch32",
    "image_text_model.family": "huggingface_clip",
    "image_text_model.revision": "main",
    "run.dtype": "float32",
}
_RETRIEVAL_FREE = {
    "dataset.name", "decoding.captions", "decoding.captions_file", "decoding.index", "decoding.top_m", "decoding.features",
    "decoding.nlist", "decoding.nprobe", "decoding.m", "decoding.ef", "decoding.ef_construction",
}  # fmt: skip
# settings that do not change the row: places of the data, left-out images (a note gives n), computation, number of the run;
# and the window of a repetition penalty of 1
_FREE = {
    "dataset.annotations", "dataset.root", "dataset.skip_greyscale", "dataset.apply_exif_orientation",
    "dataset.titles", "dataset.retrieved", "dataset.images_per_title", "language_model.look_ahead", "run.seed", "run.repeat",
    "decoding.text_cache", "decoding.repetition_window",
}  # fmt: skip


def recognise(path: Path, manifest_identity: Mapping[str, Any] | None = None) -> str | None:
    """The row id of a released file, by its name and folder, or of a run, by its settings.

    Args:
        path: The file, or the folder of a run; with an identity, its name is ignored.
        manifest_identity: ``identity`` in the run's manifest.json.

    Returns:
        A row id of paper.yaml; None if no row fits, or none for certain.
    """
    row = _of_file(path) if manifest_identity is None else _of_run(manifest_identity)
    return row if row in load_paper().rows else None


def _of_file(path: Path) -> str | None:
    if ending(path) != ".json":
        return None
    name = Path(unpacked_name(path)).stem
    if name in _BY_NAME:
        return _BY_NAME[name]
    folders = [part for part in path.absolute().parts[:-1] if part != "baselines"]
    found = _IN_A_SECTION.fullmatch(name)
    section = _SECTIONS.get(folders[-1])
    return f"{section}/{found[1] or found[2]}" if found and section else None


def _of_run(identity: Mapping[str, Any]) -> str | None:
    settings = dict(flat(identity))
    method = settings.pop("decoding.method", None)
    if settings.get("task") == "story":
        return f"story/{method}" if method in _STORY_METHODS and _fits(settings, _STORIES | _STORY_METHODS[method]) else None
    if method == "clipre":
        return _of_retrieval(settings)
    if method not in _METHODS:
        return None
    for section, (dataset, model, candidates) in _DATASETS.items():
        wanted = _ALL | {"dataset.name": dataset} | model | _METHODS[method]
        if method in ("magic", "contrastive"):
            wanted |= candidates
        if _fits(settings, wanted):
            return f"{section}/{method}"
    return None


def _fits(settings: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether the settings have the wanted values, and no other setting that matters is set."""
    others = settings.keys() - wanted.keys() - _FREE
    return all(settings.get(key) == value for key, value in wanted.items()) and all(settings[key] is None for key in others)


def _of_retrieval(settings: Mapping[str, Any]) -> str | None:
    if not _fits({key: value for key, value in settings.items() if key not in _RETRIEVAL_FREE}, _RETRIEVAL_SETTINGS):
        return None
    section = _RETRIEVAL.get((str(settings.get("dataset.name")), str(settings.get("decoding.captions"))))
    row = _INDEXES.get(str(settings.get("decoding.index")))
    return f"{section}/{row}" if section and row else None


def flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """``{"decoding": {"k": 5}}`` -> ``("decoding.k", 5)``."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
