"""CLIP and SigLIP from Hugging Face transformers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from magic_cli.models.fast.block import Block
from magic_cli.models.fast.lean_modules import linear, use_lean_activations
from magic_cli.models.faults import Fault, ModelFault, refuse
from magic_cli.models.image_text.causal_text import CausalTextTower, cut_at_end
from magic_cli.models.image_text.image_text_model import ImageTextModel, pad_tokens, read_logit_scale, stack_images
from magic_cli.models.kinds import FAMILIES
from magic_cli.models.language.bodies import num_embeddings
from magic_cli.models.tokenizers import beyond_faults, read_tokenizer
from magic_cli.models.weights import read_pretrained
from magic_cli.models.work_counter import WorkCounter

if TYPE_CHECKING:
    from PIL.Image import Image


class HuggingFaceClip(ImageTextModel):
    """Hugging Face ``CLIPModel``, images prepared by PIL as for the published numbers.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        image_processor: Its image processor on the PIL backend.
    """

    def __init__(self, model: Any, tokenizer: Any, image_processor: Any, **options: Any) -> None:
        super().__init__(**options)
        self.model, self.tokenizer, self.image_processor = model.eval(), tokenizer, image_processor
        self.network = model
        self.prepare_image = ProcessImage(image_processor)
        added = getattr(tokenizer, "added_tokens_decoder", {}).values()
        self.reads_words_apart = type(tokenizer).__name__ in ("CLIPTokenizer", "CLIPTokenizerFast") and not any(
            " " in str(token) for token in added
        )
        self.adopt_tower(self.read_tower(), dtype=model.dtype)

    def embed_images(self, prepared: Sequence[np.ndarray]) -> Tensor:
        pixels = stack_images(prepared)
        return self.model.get_image_features(pixel_values=pixels.to(self.model.device, self.model.dtype)).pooler_output

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        ids = pad_tokens(self.tokenize(texts), end_id=self.tokenizer.eos_token_id, device=self.model.device)
        return self.model.get_text_features(input_ids=ids).pooler_output

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        length = self.model.config.text_config.max_position_embeddings
        rows = self.tokenizer(list(texts), truncation=True, max_length=length)["input_ids"]
        return [cut_at_end(row, self.tokenizer.eos_token_id) for row in rows]

    def read_tower(self) -> CausalTextTower | None:
        """The parts of ``CLIPTextModel``."""
        return read_text_tower(self.model.text_model, self.model.text_projection)


@dataclass(frozen=True)
class ProcessImage:
    """A ``prepare_image`` by a Hugging Face image processor."""

    image_processor: Any

    def __call__(self, image: Image) -> np.ndarray:
        """(3, side, side) float32."""
        return self.image_processor(images=[image], return_tensors="np")["pixel_values"][0]


class SigLip(HuggingFaceClip):
    """Hugging Face ``SiglipModel``: a text tower without causal mask that pools the last of exactly 64 tokens."""

    def read_tower(self) -> None:
        return None

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        length = self.model.config.text_config.max_position_embeddings
        lower = [text.lower() for text in texts]  # as it was trained
        ids = self.tokenizer(lower, padding="max_length", truncation=True, max_length=length, return_tensors="pt")["input_ids"]
        return self.model.get_text_features(input_ids=ids.to(self.model.device)).pooler_output


def read_text_tower(text: Any, *project: nn.Module) -> CausalTextTower:
    """The parts of a ``CLIPTextModel`` and what projects its normalised end states, step by step."""
    return CausalTextTower(
        embed=text.embeddings.token_embedding,
        positions=text.embeddings.position_embedding.weight,
        blocks=[_read_block(layer) for layer in text.encoder.layers],
        project=nn.Sequential(text.final_layer_norm, *project),
        num_heads=text.config.num_attention_heads,
    )


def _read_block(layer: Any) -> Block:
    use_lean_activations(layer)
    attention = layer.self_attn
    names = ("fc1", "activation_fn", "fc2")
    three = attention.q_proj, attention.k_proj, attention.v_proj
    return Block(
        norm1=layer.layer_norm1,
        query_key_value=linear(torch.cat([part.weight for part in three]), torch.cat([part.bias for part in three])),
        out=attention.out_proj,
        norm2=layer.layer_norm2,
        mlp=nn.Sequential(OrderedDict((name, getattr(layer.mlp, name)) for name in names)),
    )


def load_huggingface(
    folder: Path, *, family: str, device: torch.device, dtype: torch.dtype, work: WorkCounter
) -> HuggingFaceClip:
    """Load CLIP or SigLIP (``family``: ``huggingface_clip`` or ``siglip``) from a folder that ``save_pretrained`` wrote.

    Raises:
        ModelFault: It is of another kind, weights are missing or no numbers, or the tokenizer is missing or not the model's.
    """
    from transformers import CLIPModel, SiglipModel

    adapter, model_class = (SigLip, SiglipModel) if family == "siglip" else (HuggingFaceClip, CLIPModel)
    tokenizer, image_processor, faults = before_weights(folder, family)
    model, fit, of_weights = read_pretrained(model_class, {"pretrained_model_name_or_path": folder}, dtype=torch.float32)
    refuse([*of_weights, *(faults or beyond_faults(tokenizer, num_embeddings(model.text_model)))])
    logit_scale = read_logit_scale(model)
    loaded = adapter(model.to(device, dtype), tokenizer, image_processor, logit_scale=logit_scale, work=work)
    loaded.fit = fit
    return loaded


def before_weights(folder: Path, family: str) -> tuple[Any, Any, list[Fault]]:
    """The tokenizer and the image processor of a model that ``load_huggingface`` reads, and what is wrong with the tokenizer.

    Raises:
        ModelFault: It is of another kind.
    """
    from transformers import AutoConfig, AutoImageProcessor, AutoTokenizer, CLIPConfig, SiglipConfig

    kind = SiglipConfig.model_type if family == "siglip" else CLIPConfig.model_type
    _require_kind(AutoConfig.from_pretrained(folder).model_type, kind)
    tokenizer, faults = read_tokenizer(folder, lambda: AutoTokenizer.from_pretrained(folder))
    # the torchvision-based processors differ slightly from the PIL ones that the published numbers were made with
    return tokenizer, AutoImageProcessor.from_pretrained(folder, backend="pil"), faults


def _require_kind(found: str, wanted: str) -> None:
    """Refuse another architecture, of which nothing would fit."""
    if found != wanted:
        family = FAMILIES.get(found)
        other = f"name a model of {' or '.join(FAMILIES)}, or one that another family reads"
        remedy = f"set image_text_model.family={family}" if family else other
        raise ModelFault([Fault("files", f"its config.json says model_type {found!r}, and {wanted!r} is needed", remedy)])
