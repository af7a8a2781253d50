"""OpenCLIP models, by architecture and pretrained tag, ``hf-hub:`` id, or local folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from magic_cli.models.fast.lean_modules import linear
from magic_cli.models.faults import Fault, refuse
from magic_cli.models.image_text.causal_text import CausalTextTower, cut_at_end, packed_attention_block
from magic_cli.models.image_text.image_text_model import ImageTextModel, TransformImage, read_logit_scale, stack_images
from magic_cli.models.tokenizers import beyond_faults
from magic_cli.models.weights import number_faults, strict_faults
from magic_cli.models.work_counter import WorkCounter


class OpenClip(ImageTextModel):
    """A model of the ``open_clip`` package.

    Args:
        model: The model.
        preprocess: PIL image -> (3, side, side).
        tokenizer: Texts -> (N, context length) token ids.
    """

    def __init__(self, model: Any, preprocess: Any, tokenizer: Any, **options: Any) -> None:
        super().__init__(**options)
        self.model, self.prepare_image, self.tokenizer = model.eval(), TransformImage(preprocess), tokenizer
        self.network = model
        self.dtype = model.logit_scale.dtype
        self.reads_words_apart = type(tokenizer).__name__ == "SimpleTokenizer" and tokenizer.reduction_fn is None
        self.adopt_tower(self._tower(), dtype=self.dtype)

    @property
    def device(self) -> torch.device:
        return self.model.logit_scale.device

    def embed_images(self, prepared: Sequence[np.ndarray]) -> Tensor:
        return self.model.encode_image(stack_images(prepared).to(self.device, self.dtype))

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        return self.model.encode_text(self.tokenizer(list(texts)).to(self.device))

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        return [cut_at_end(row, self.tokenizer.eot_token_id) for row in self.tokenizer(list(texts)).tolist()]

    def _tower(self) -> CausalTextTower | None:
        """The parts of the text tower, if it is of CLIP's kind; the probe at load has the last word."""
        text = getattr(self.model, "text", self.model)  # CustomTextCLIP keeps its text tower apart
        blocks = getattr(getattr(text, "transformer", None), "resblocks", None)
        if blocks is None or not hasattr(self.tokenizer, "eot_token_id") or not hasattr(blocks[0], "attn"):
            return None
        if not isinstance(blocks[0].attn, nn.MultiheadAttention) or text.text_projection is None:
            return None
        projection = text.text_projection
        project = projection if isinstance(projection, nn.Linear) else linear(projection.t(), None)
        return CausalTextTower(
            embed=text.token_embedding,
            positions=text.positional_embedding,
            blocks=[packed_attention_block(block) for block in blocks],
            project=nn.Sequential(text.ln_final, project),
            num_heads=blocks[0].attn.num_heads,
        )


def load_open_clip(
    source: str, *, pretrained: str | None, device: torch.device, dtype: torch.dtype, work: WorkCounter
) -> OpenClip:
    """Load an OpenCLIP model.

    Args:
        source: Architecture ("ViT-B-32"), ``hf-hub:`` id, or a folder with ``open_clip_config.json`` and weights.
        pretrained: Tag or weights file that belongs to an architecture.
        device: Where it goes.
        dtype: Type of the weights.
        work: Where texts are counted.

    Raises:
        ModelFault: Weights are missing or no numbers, or the tokenizer is not the model's.
    """
    import open_clip

    name = _schema(source)
    try:
        model, _, preprocess = open_clip.create_model_and_transforms(name, pretrained=pretrained, require_pretrained=True)
    except RuntimeError as error:
        refuse(strict_faults(error))
        raise
    tokenizer = read_open_clip_tokenizer(source)
    refuse([*number_faults(model), *_tokenizer_faults(tokenizer, model)])
    logit_scale = read_logit_scale(model)
    return OpenClip(model.to(device, dtype), preprocess, tokenizer, logit_scale=logit_scale, work=work)


def read_open_clip_tokenizer(source: str) -> Any:
    """The tokenizer alone, for which the package reads ``open_clip_config.json``, too; ``source`` as for ``load_open_clip``."""
    import open_clip

    return open_clip.get_tokenizer(_schema(source))


def _schema(source: str) -> str:
    return f"local-dir:{source}" if Path(source).is_dir() else source


def _tokenizer_faults(tokenizer: Any, model: Any) -> list[Fault]:
    """Of a tokenizer of Hugging Face's, which lies beside the model; the package's own are its models'."""
    inner = getattr(tokenizer, "tokenizer", None)
    embeddings = getattr(getattr(model, "text", model), "token_embedding", None)
    if inner is None or embeddings is None:
        return []
    return beyond_faults(inner, embeddings.num_embeddings)
