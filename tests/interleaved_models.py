"""Builders of tiny random models that read and write text and images, as folders; no network."""

from __future__ import annotations

from pathlib import Path

import torch

from magic_cli.interleaved.settings import DiffusionPart, InterleavedModelSettings, LanguagePart, MapperSettings, VisionPart
from tests.tiny_models import build_language_tokenizer, randomise

HIDDEN, WIDTH, SIDE, VECTORS = 48, 16, 16, 3


def build_interleaved_folders(folder: Path) -> Path:
    """Folders ``language_model`` (Llama), ``vision`` (BLIP-2) and ``diffusion`` (Stable Diffusion with its text encoder)."""
    folder.mkdir(parents=True, exist_ok=True)
    build_llama_folder(folder / "language_model")
    build_vision_folder(folder / "vision")
    build_diffusion_folder(folder / "diffusion")
    return folder


def build_llama_folder(folder: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    folder.mkdir()
    tokenizer = build_language_tokenizer(folder)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=HIDDEN, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=256,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, tie_word_embeddings=False,
    )  # fmt: skip
    randomise(LlamaForCausalLM(config), seed=3).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def build_vision_folder(folder: Path) -> None:
    from safetensors.torch import save_file
    from transformers import Blip2Config, Blip2QFormerConfig, Blip2VisionConfig

    from magic_cli.interleaved.vision import QFormerReader

    vision = Blip2VisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=SIDE, patch_size=8
    )
    former = Blip2QFormerConfig(
        vocab_size=30, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, encoder_hidden_size=16,
        cross_attention_frequency=2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    config = Blip2Config(vision_config=vision.to_dict(), qformer_config=former.to_dict(), num_query_tokens=VECTORS)
    reader = randomise(QFormerReader(config, HIDDEN), seed=4)
    folder.mkdir()
    config.save_pretrained(folder)
    save_file({name: weight.contiguous() for name, weight in reader.state_dict().items()}, folder / "model.safetensors")


def build_diffusion_folder(folder: Path) -> None:
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from magic_cli.benchmark.vocabulary import clip_tokenizer

    torch.manual_seed(5)
    vae = AutoencoderKL(
        block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, latent_channels=4,
        norm_num_groups=4, sample_size=SIDE,
    )  # fmt: skip
    vae.save_pretrained(folder / "vae")
    unet = UNet2DConditionModel(
        sample_size=8, block_out_channels=(8, 8), layers_per_block=1, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), cross_attention_dim=WIDTH, attention_head_dim=4, norm_num_groups=4,
    )  # fmt: skip
    randomise(unet, seed=6, spread=0.1).save_pretrained(folder / "unet")
    DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, steps_offset=1).save_pretrained(
        folder / "scheduler"
    )
    tokenizer = clip_tokenizer()
    text = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=6,
        bos_token_id=len(tokenizer) - 2, eos_token_id=len(tokenizer) - 1, pad_token_id=len(tokenizer) - 1,
    )  # fmt: skip
    randomise(CLIPTextModel(text), seed=7).save_pretrained(folder / "text_encoder")
    tokenizer.model_max_length = 6
    tokenizer.save_pretrained(folder / "tokenizer")


def interleaved_settings(folder: Path, **changes) -> InterleavedModelSettings:
    """Settings of the model in ``folder``: 4 vokens, a mapper of one layer to 6 conditions."""
    given = {
        "name": "random", "language_model": LanguagePart(path=str(folder / "language_model")), "vision": VisionPart(path=str(folder / "vision")),
        "diffusion": DiffusionPart(path=str(folder / "diffusion")), "num_vokens": 4, "mapper": MapperSettings(layers=1, heads=2, queries=6),
    }  # fmt: skip
    return InterleavedModelSettings(**given | changes)
