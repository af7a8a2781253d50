"""What kind of model a folder or file holds, told from its names and its config.json; nothing is loaded."""

from __future__ import annotations

from pathlib import Path

from magic_cli.data.json_files import read_json
from magic_cli.data.json_text import JSONFault, parse_json
from magic_cli.errors import MagicError
from magic_cli.models.language.gguf_files import SUFFIX

LANGUAGE_MODEL, DIFFUSION_MODEL, INCEPTION = "language_model", "diffusion", "inception"
_OPEN_CLIP_CONFIG, _EMBEDDED_WEIGHTS = "open_clip_config.json", "heads.safetensors"
_CLIP_FILES = (".pt", ".pth", ".bin", ".safetensors")
FAMILIES = {"clip": "huggingface_clip", "siglip": "siglip"}
"""Of the image-text models that transformers reads: what config.json says, and their families."""


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
    family = FAMILIES.get(str(_read_config(place / "config.json").get("model_type")))
    if family is None and (place / _OPEN_CLIP_CONFIG).is_file():
        return "open_clip"
    return family or ("embedded" if (place / _EMBEDDED_WEIGHTS).is_file() else LANGUAGE_MODEL)


def image_text_option(place: Path) -> str:
    """The option of ``image_text_model`` that loads a file or folder. If it is none of an image-text model, the option's loader says so.

    A folder of OpenCLIP often has a config.json of transformers' beside its own: OpenCLIP wrote it, so OpenCLIP reads it.

    Raises:
        MagicError: The folder's config.json cannot be read.
    """
    if place.is_file():
        return "openai_clip"
    if (place / _OPEN_CLIP_CONFIG).is_file():
        return "open_clip"
    config = place / "config.json"
    found = (
        read_json(config, setting="image_text_model.path", hint="name the folder of a whole model") if config.is_file() else None
    )
    family = FAMILIES.get(str(found.get("model_type"))) if isinstance(found, dict) else None
    if family is None and (place / _EMBEDDED_WEIGHTS).is_file():
        return "embedded"
    return "siglip" if family == "siglip" else "clip_vit_b32"


def _read_config(file: Path) -> dict:
    if not file.is_file():
        return {}
    try:
        config = parse_json(file.read_bytes())
    except JSONFault as fault:
        raise MagicError(f"{file}: is no JSON ({fault.problem}); copy it anew") from None
    return config if isinstance(config, dict) else {}
