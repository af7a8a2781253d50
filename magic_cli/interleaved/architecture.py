"""The shapes of the published parts, for estimates of memory and for tests with small models of the same kind.

Vicuna 7B (Llama), EVA-CLIP ViT-g/14 with 39 blocks, BLIP-2's Q-Former, Stable Diffusion 2.1 base.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Scale:
    """How much smaller a model is than the published one.

    Attributes:
        depth: Numbers of layers are divided by this; at least one layer is left.
        width: Widths are divided by this; the number of heads stays where possible.
    """

    depth: int = 1
    width: int = 1

    def layers(self, number: int) -> int:
        """The scaled number of layers."""
        return max(1, number // self.depth)

    def size(self, number: int) -> int:
        """The scaled width."""
        return number // self.width


def language_model(scale: Scale = Scale(), vocab_size: int = 32000) -> Any:
    """Vicuna 7B."""
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocab_size, hidden_size=scale.size(4096), intermediate_size=scale.size(11008), num_hidden_layers=scale.layers(32),
            num_attention_heads=scale.size(32) or 1, max_position_embeddings=2048, tie_word_embeddings=False,
        )
    )  # fmt: skip


def vision(scale: Scale = Scale()) -> Any:
    """EVA ViT-g/14 at 224 pixels and BLIP-2's Q-Former with 32 queries, as a ``Blip2Config``."""
    from transformers import Blip2Config, Blip2QFormerConfig, Blip2VisionConfig

    seen = Blip2VisionConfig(
        hidden_size=scale.size(1408), intermediate_size=scale.size(6144), num_hidden_layers=scale.layers(39), num_attention_heads=scale.size(16) or 1,
        patch_size=14, image_size=224,
    )  # fmt: skip
    former = Blip2QFormerConfig(
        vocab_size=30523, hidden_size=scale.size(768), num_hidden_layers=max(2, scale.layers(12)), num_attention_heads=scale.size(12) or 1,
        intermediate_size=scale.size(3072), encoder_hidden_size=scale.size(1408), cross_attention_frequency=2,
    )  # fmt: skip
    return Blip2Config(vision_config=seen.to_dict(), qformer_config=former.to_dict(), num_query_tokens=32)


def unet(scale: Scale = Scale()) -> Any:
    """The UNet of Stable Diffusion 2.1 base."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=64, block_out_channels=tuple(scale.size(width) for width in (320, 640, 1280, 1280)), layers_per_block=scale.layers(2),
        attention_head_dim=(5, 10, 20, 20) if scale.width == 1 else 1, cross_attention_dim=scale.size(1024), use_linear_projection=True,
        norm_num_groups=32 if scale.width == 1 else 2,
    )  # fmt: skip


def vae(scale: Scale = Scale()) -> Any:
    """The autoencoder of Stable Diffusion."""
    from diffusers import AutoencoderKL

    blocks = 4
    return AutoencoderKL(
        block_out_channels=tuple(scale.size(width) for width in (128, 256, 512, 512)), layers_per_block=scale.layers(2), sample_size=512,
        down_block_types=("DownEncoderBlock2D",) * blocks, up_block_types=("UpDecoderBlock2D",) * blocks, norm_num_groups=32 if scale.width == 1 else 2,
    )  # fmt: skip


def text_encoder(scale: Scale = Scale()) -> Any:
    """The text encoder of OpenCLIP ViT-H, as in Stable Diffusion 2."""
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=49408, hidden_size=scale.size(1024), intermediate_size=scale.size(4096), num_hidden_layers=scale.layers(23),
            num_attention_heads=scale.size(16) or 1, max_position_embeddings=77,
        )
    )  # fmt: skip


def num_parameters(module: torch.nn.Module) -> int:
    """The number of weights of a module."""
    return sum(weight.numel() for weight in module.parameters())
