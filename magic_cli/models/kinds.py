"""What kind of model a folder or file holds, told from its names and its config.json; nothing is loaded."""

from __future__ import annotations

from pathlib import Path

from magic_cli.data.json_files import read_json
from magic_cli.errors import MagicError
from magic_cli.models.language.gguf_files import SUFFIX

LANGUAGE_MODEL, DIFFUSION_MODEL, INCEPTION = "language_model", "diffusion", "inception"
_OPEN_CLIP_CONFIG, _EMBEDDED_WEIGHTS = "open_clip_config.json", "heads.safetensors"
_CLIP_FILES = (".pt", ".pth", ".bin", ".safetensors")
FAMILIES = {"clip": "huggingface_clip", "siglip": "siglip"}
"""Of the image-text models that transformers reads: what config.json says, and their families."""
_OPTIONS = {"huggingface_clip": "clip_vit_b32"}
"""Options of ``image_text_model`` that are not called like their family."""


def kind_of(place: Path) -> str:
    """``language_model``, ``diffusion``, ``inception`` (weights of FID's network, told by the file's name), or the family of an image-text model.

    Raises:
        MagicError: It is no model's file, or a folder whose config.json cannot be read.
    """
    if place.is_file():
        if place.suffix != SUFFIX and (place.parent / "config.json").is_file():
            raise MagicError(f"{place}: is one file of a model's folder; name the folder, {place.parent}")
        if place.suffix != SUFFIX and place.suffix not in _CLIP_FILES:
            known = ", ".join((SUFFIX, *_CLIP_FILES))
            raise MagicError(f"{place}: is no model's file ({known}); name such a file, or a folder that save_pretrained wrote")
        if "inception" in place.name.lower():
            return INCEPTION
        return LANGUAGE_MODEL if place.suffix == SUFFIX else "openai_clip"
    if (place / "unet" / "config.json").is_file():
        return DIFFUSION_MODEL
    return _image_text_family(place, setting="") or LANGUAGE_MODEL


def image_text_option(place: Path) -> str:
    """The option of ``image_text_model`` that loads a file or folder. If it is none of an image-text model, the option's loader says so.

    Raises:
        MagicError: The folder's config.json cannot be read.
    """
    if place.is_file():
        return "openai_clip"
    family = _image_text_family(place, setting="image_text_model.path")
    return _OPTIONS.get(family, family) if family else _OPTIONS[FAMILIES["clip"]]


def _image_text_family(folder: Path, *, setting: str) -> str | None:
    """The family of the image-text model in a folder; None: its files are of no family that is known.

    A folder of OpenCLIP often has a config.json of transformers' beside its own: OpenCLIP wrote it, so OpenCLIP reads it.

    Raises:
        MagicError: The folder's config.json cannot be read.
    """
    if (folder / _OPEN_CLIP_CONFIG).is_file():
        return "open_clip"
    file = folder / "config.json"
    config = read_json(file, setting=setting, hint="name the folder of a whole model") if file.is_file() else None
    family = FAMILIES.get(str(config.get("model_type"))) if isinstance(config, dict) else None
    return family or ("embedded" if (folder / _EMBEDDED_WEIGHTS).is_file() else None)
