"""What kind of model a folder or file holds, told from its names and its config.json; nothing is loaded."""

from __future__ import annotations

from pathlib import Path

from magic_cli.data.json_text import JSONFault, parse_json
from magic_cli.errors import MagicError
from magic_cli.models.language.gguf_files import SUFFIX

LANGUAGE_MODEL, DIFFUSION_MODEL, INCEPTION = "language_model", "diffusion", "inception"
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
    config = _read_config(place / "config.json")
    if config.get("model_type") in FAMILIES:
        return FAMILIES[config["model_type"]]
    if (place / "open_clip_config.json").is_file():
        return "open_clip"
    return "embedded" if (place / "heads.safetensors").is_file() else LANGUAGE_MODEL


def _read_config(file: Path) -> dict:
    if not file.is_file():
        return {}
    try:
        config = parse_json(file.read_bytes())
    except JSONFault as fault:
        raise MagicError(f"{file}: is no JSON ({fault.problem}); copy it anew") from None
    return config if isinstance(config, dict) else {}
