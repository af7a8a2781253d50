"""OpenAI's ``clip`` package (``clip-anytorch`` on PyPI)."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from magic_cli.errors import MagicError
from magic_cli.models.fast.lean_modules import linear
from magic_cli.models.faults import ModelFault, refuse
from magic_cli.models.image_text.causal_text import CausalTextTower, cut_at_end, packed_attention_block
from magic_cli.models.image_text.image_text_model import ImageTextModel, TransformImage, read_logit_scale, stack_images
from magic_cli.models.weights import Fit, flat, is_known_prefix, missing_fault, number_faults, strict_faults, strip_prefix
from magic_cli.models.work_counter import WorkCounter


def import_clip() -> Any:
    """The ``clip`` module; it warns about pkg_resources when imported, which is of no use to the user."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import clip
        import clip.clip
        import clip.model
    return clip


class OpenAIClip(ImageTextModel):
    """A ``clip.model.CLIP``.

    Args:
        model: The model.
        preprocess: PIL image -> (3, side, side), as ``clip.load`` returns it.
    """

    reads_words_apart = True

    def __init__(self, model: Any, preprocess: Any, **options: Any) -> None:
        super().__init__(**options)
        self.model, self.prepare_image = model.eval(), TransformImage(preprocess)
        self.network = model
        self.clip = import_clip()
        self.end_id = model.vocab_size - 1  # its tokenizer's end token is the last one
        self.adopt_tower(self._tower(), dtype=model.dtype)

    @property
    def device(self) -> torch.device:
        return self.model.logit_scale.device

    def embed_images(self, prepared: Sequence[np.ndarray]) -> Tensor:
        return self.model.encode_image(stack_images(prepared).to(self.device, self.model.dtype))

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        return self.model.encode_text(self.clip.tokenize(list(texts), truncate=True).to(self.device))

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        rows = self.clip.tokenize(list(texts), truncate=True).tolist()
        return [cut_at_end(row, self.end_id) for row in rows]

    def _tower(self) -> CausalTextTower:
        model, blocks = self.model, self.model.transformer.resblocks
        return CausalTextTower(
            embed=model.token_embedding,
            positions=model.positional_embedding,
            blocks=[packed_attention_block(block) for block in blocks],
            project=nn.Sequential(model.ln_final, linear(model.text_projection.t(), None)),
            num_heads=blocks[0].attn.num_heads,
        )


def weights_file(source: str) -> Path:
    """The file behind a name that the package lists (downloaded to ~/.cache/clip, as the package does) or a path.

    Raises:
        MagicError: Neither a file nor a known name, or the download fails.
    """
    clip = import_clip()
    if Path(source).is_file():
        return Path(source)
    if source not in clip.available_models():
        names = ", ".join(clip.available_models())
        raise MagicError(f"image_text_model.name={source!r} is neither a file nor a model of OpenAI's clip package ({names})")
    cache = os.path.expanduser("~/.cache/clip")
    try:
        return Path(clip.clip._download(clip.clip._MODELS[source], cache))
    except (OSError, RuntimeError) as error:
        raise MagicError(
            f"image_text_model.name={source}: not in {cache} and cannot be downloaded ({error}); copy the published .pt file here and "
            "set image_text_model.path=FILE, or use image_text_model=embedded"
        ) from error


_PARTS = ("token_embedding.weight", "positional_embedding", "ln_final.weight", "text_projection", "logit_scale", "visual.conv1.weight",
          "transformer.resblocks.0.ln_1.weight")  # fmt: skip
"""Names by which a state dict of any of its sizes is known, and without which the package cannot tell the size."""
_NOT_WEIGHTS = ("input_resolution", "context_length", "vocab_size")


def load_openai_clip(file: Path, *, device: torch.device, dtype: torch.dtype, work: WorkCounter) -> OpenAIClip:
    """Load a published ``.pt`` archive, or a state dict in ``.safetensors`` or ``.pt``.

    Raises:
        MagicError: A TorchScript archive that is not one of OpenAI's, or weights are missing or no numbers.
    """
    clip = import_clip()
    weights = _read_weights(file, clip)
    model, fit = _build(weights, clip)
    refuse(number_faults(model))
    preprocess = clip.clip._transform(model.visual.input_resolution)
    logit_scale = read_logit_scale(model)
    model.to(device, dtype)
    for module in model.modules():
        if isinstance(module, torch.nn.LayerNorm):  # the package's computes in float32, whatever the type of the rest
            module.float()
    loaded = OpenAIClip(model, preprocess, logit_scale=logit_scale, work=work)
    loaded.fit = fit
    return loaded


def _build(weights: dict[str, Tensor], clip: Any) -> tuple[Any, Fit]:
    """The model of a state dict, from which the package tells its size.

    Raises:
        ModelFault: Weights are missing.
    """
    prefix, named = strip_prefix(weights, _PARTS)
    if prefix and not is_known_prefix(prefix):
        raise ModelFault([missing_fault(_PARTS, "weights that every model of OpenAI's has", prefix)])
    if lacking := [name for name in _PARTS if name not in named]:
        raise ModelFault([missing_fault(lacking, "weights that every model of OpenAI's has")])
    tops = {name.partition(".")[0] for name in _PARTS}
    parts = {name: weight for name, weight in named.items() if name.partition(".")[0] in tops}
    try:
        model = clip.model.build_model(dict(parts)).float()
    except RuntimeError as error:
        refuse(strict_faults(error))
        raise
    model.load_state_dict({name: parts[name].float() for name in model.state_dict()})  # build_model rounds to fp16
    return model, Fit(prefix, tuple(sorted(named.keys() - parts.keys() - set(_NOT_WEIGHTS))))


def _read_weights(file: Path, clip: Any) -> dict[str, Tensor]:
    """State dict of a file; a TorchScript archive, which can run code, only if it is a published one."""
    if file.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(file)
    published = {url.split("/")[-2] for url in clip.clip._MODELS.values()}
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's advice on TorchScript; the error below says what matters
        if digest in published:
            return torch.jit.load(file, map_location="cpu").state_dict()
        try:
            return flat(torch.load(file, map_location="cpu", weights_only=True))
        except Exception as error:  # pickle raises many kinds
            raise MagicError(
                f"{file}: SHA-256 {digest[:12]}... is none of OpenAI's published archives and it is no plain state dict; "
                "download it again, or save its state dict as .safetensors"
            ) from error
