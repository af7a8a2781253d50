"""From settings to models: one function for language models, one for image-text models."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from magic_cli.errors import MagicError
from magic_cli.models.gguf_files import SMOLLM2, SUFFIX, read_gguf, require_smollm2
from magic_cli.models.sources import EMBEDDED, describe_source, embedded_folder, fetch, weights_digest
from magic_cli.work import Work

if TYPE_CHECKING:
    from magic_cli.models.image_text_model import ImageTextModel
    from magic_cli.models.language_model import HuggingFaceLanguageModel


_HUB_PREFIX = "hf-hub:"


def resolve_device(name: str) -> torch.device:
    """The torch device of a setting; ``auto`` is CUDA if there is one, else the CPU.

    Raises:
        MagicError: The device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda"):
        count = torch.cuda.device_count()
        if (torch.device(name).index or 0) >= count:
            raise MagicError(f"run.device={name}: torch sees {count} CUDA devices here; set run.device=cpu or auto")
    return torch.device(name)


def quiet_libraries() -> None:
    """Keep the libraries' progress bars and notes off the terminal; errors still come through.

    Raises:
        MagicError: Python runs without docstrings, which transformers reads when it is imported.
    """
    if sys.flags.optimize > 1:
        raise MagicError("Python runs without docstrings (PYTHONOPTIMIZE=2 or -OO), and transformers cannot be loaded without; set PYTHONOPTIMIZE=1, or unset it")
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


def load_language_model(settings: Any, *, device: torch.device, dtype: torch.dtype, work: Work) -> tuple[HuggingFaceLanguageModel, dict[str, Any]]:
    """The language model of ``LanguageModelSettings`` and its description for the manifest.

    Raises:
        MagicError: It cannot be had or read.
    """
    from magic_cli.models.language_model import HuggingFaceLanguageModel
    from magic_cli.models.lean_modules import make_lean

    model, tokenizer, folder = read_causal_model(settings, dtype=dtype)
    with _reading(settings):
        model = model.to(device)
        make_lean(model)
        language_model = HuggingFaceLanguageModel(
            model, tokenizer, start_token=settings.start_token, clean_up_spaces=settings.clean_up_spaces, work=work
        )
    return language_model, describe_source(settings, folder)


def read_causal_model(settings: Any, *, dtype: torch.dtype) -> tuple[Any, Any, Path]:
    """Model and tokenizer of ``LanguageModelSettings`` as transformers has them, and the folder or file that they were read from.

    Raises:
        MagicError: They cannot be had or read.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    quiet_libraries()
    folder = _folder(settings)
    with _reading(settings):
        if folder.suffix == SUFFIX:
            return *read_gguf(folder, dtype=dtype), folder
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=settings.trust_remote_code)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, trust_remote_code=settings.trust_remote_code)
    return model, tokenizer, folder


def load_image_text_model(settings: Any, *, device: torch.device, dtype: torch.dtype, work: Work) -> tuple[ImageTextModel, dict[str, Any]]:
    """The image-text model of ``ImageTextModelSettings`` and its description for the manifest.

    Raises:
        MagicError: It cannot be had or read.
    """
    quiet_libraries()
    model, description = _FAMILIES[settings.family.value](settings, device=device, dtype=dtype, work=work)
    if settings.logit_scale is not None:
        model.logit_scale = settings.logit_scale
    return model, description | {"family": settings.family.value, "logit_scale": model.logit_scale}


def _load_huggingface(settings: Any, **options: Any) -> tuple[ImageTextModel, dict[str, Any]]:
    from magic_cli.models.huggingface_clip import load_huggingface

    folder = _folder(settings)
    with _reading(settings):
        model = load_huggingface(folder, family=settings.family.value, **options)
    return model, describe_source(settings, folder)


def _load_openai(settings: Any, **options: Any) -> tuple[ImageTextModel, dict[str, Any]]:
    from magic_cli.models.openai_clip import load_openai_clip, weights_file

    file = weights_file(settings.source)
    with _reading(settings):
        model = load_openai_clip(file, **options)
    return model, describe_source(settings, file)


def _load_open_clip(settings: Any, **options: Any) -> tuple[ImageTextModel, dict[str, Any]]:
    from magic_cli.models.open_clip_model import load_open_clip

    if not settings.path and settings.name.startswith(_HUB_PREFIX):
        folder = fetch(settings.name.removeprefix(_HUB_PREFIX), revision=settings.revision, setting=settings.group)
        with _reading(settings):
            return load_open_clip(str(folder), pretrained=None, **options), describe_source(settings, folder)
    with _reading(settings):
        model = load_open_clip(settings.source, pretrained=None if settings.path else settings.pretrained, **options)
    if settings.path:
        return model, describe_source(settings, Path(settings.source))
    # the package keeps its files to itself, so the weights themselves are hashed
    return model, {"name": f"{settings.name}/{settings.pretrained}", "revision": None, "weights_sha256": weights_digest(model.model)}


def _load_embedded(settings: Any, **options: Any) -> tuple[ImageTextModel, dict[str, Any]]:
    from magic_cli.models.embedded.matcher import EmbeddedMatcher

    folder = _folder(settings)
    with _reading(settings):
        model = EmbeddedMatcher.load(folder, **options)
    return model, describe_source(settings, folder)


def load_text_model(source: Any, *, device: torch.device) -> tuple[Any, Any, dict[str, Any], list[str]]:
    """A metric's text model, its tokenizer, its description for metrics.json, and the weights that its files do not have.

    Args:
        source: A ``metrics.text_models.TextModel``.
        device: Where it runs, in float32.

    Raises:
        MagicError: It cannot be had or read.
    """
    from transformers import AutoModel, AutoTokenizer

    quiet_libraries()
    folder = _folder(source) if source.path else fetch(source.name, revision=source.revision, setting=source.group, instead=source.instead)
    with _reading(source):
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model, loading = AutoModel.from_pretrained(folder, output_loading_info=True, dtype=torch.float32)
    return model.to(device), tokenizer, describe_source(source, folder), list(loading["missing_keys"])


_FAMILIES = {
    "huggingface_clip": _load_huggingface,
    "siglip": _load_huggingface,
    "openai_clip": _load_openai,
    "open_clip": _load_open_clip,
    "embedded": _load_embedded,
}


def _folder(settings: Any) -> Path:
    """The local folder, or GGUF file, that a model is read from; a hub model is fetched first."""
    if settings.path:
        folder = Path(settings.source)
        if folder.is_file() and folder.suffix == SUFFIX and settings.group == "language_model":
            return folder
        if not (folder / "config.json").is_file():
            raise MagicError(f"{settings.group}.path={settings.path}: has no config.json; name a folder that save_pretrained wrote")
        return folder
    if settings.name == EMBEDDED:
        return embedded_folder(settings)
    if settings.name == SMOLLM2:
        return require_smollm2(settings)
    return fetch(settings.name, revision=settings.revision, setting=settings.group)


@contextmanager
def _reading(settings: Any) -> Iterator[None]:
    """Turn what a library raises over model files into one line that names the setting."""
    logging.disable(logging.ERROR)  # libraries log the error that they raise, too
    try:
        yield
    except (MagicError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # each library and file format raises its own kinds
        group = settings.group
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = f"{type(error).__name__}: {' '.join(lines)[:160]}"
        instead = getattr(settings, "instead", f"use {group}=embedded")
        if settings.path:
            raise MagicError(
                f"{group}.path={settings.path}: cannot be loaded ({reason}); name a complete model of this kind, or {instead}"
            ) from error
        if settings.name == EMBEDDED:
            raise MagicError(f"{group}=embedded: cannot be loaded ({reason}); reinstall magic") from error
        tried = "the cache and the hub" if getattr(settings, "pretrained", None) else "its files"
        raise MagicError(
            f"{group}.name={settings.name}: cannot be loaded from {tried} ({reason}); without network set {group}.path to a local "
            f"folder or file of it, or {instead}"
        ) from error
    finally:
        logging.disable(logging.NOTSET)
