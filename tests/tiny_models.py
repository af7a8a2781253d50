"""Builders of tiny real models: random weights from a fixed seed, real tokenizers, no network.

Weights are much larger than a fresh model's (spread 0.3 instead of 0.02), so that texts and scores differ clearly from
token to token and a wrong mask or position shows.
"""

from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tokenizers import ByteLevelBPETokenizer
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    GPT2TokenizerFast,
)

from magic_cli.benchmark.vocabulary import CLIP_START, clip_tokenizer, clip_vocabulary
from magic_cli.models.image_text.huggingface_clip import HuggingFaceClip, load_huggingface
from magic_cli.models.work_counter import WorkCounter

START, PAD, END = "<-start_of_text->", "<-pad->", "<|endoftext|>"
SPREAD = 0.3

CAPTIONS = [
    "A man riding a wave on top of a surfboard.",
    "A man is riding a skateboard down a ramp.",
    "Two dogs are running over the green grass.",
    "A group of people standing around a kitchen.",
    "A red double decker bus driving down a street.",
    "A plate of food with broccoli and meat.",
    "A cat sitting on top of a wooden table.",
    "A young girl holding an umbrella in the rain.",
    "A train traveling down tracks next to a platform.",
    "A bathroom with a toilet, a sink and a mirror.",
    "Several boats are docked near the beach.",
    "A woman hitting a tennis ball with a racquet.",
    "A giraffe standing next to a tree in a field.",
    "A pizza sitting on a pan on a stove.",
    "The living room has a couch and a television.",
    "People are flying kites in a big park.",
    "A bird perched on a branch, looking around.",
    "A herd of sheep grazing on a lush hillside.",
    "A child is brushing his teeth in the bathroom.",
    "A motorcycle parked on the side of the road.",
    "A vase filled with flowers on a table.",
    "An airplane flying through a cloudy blue sky.",
    "A snowboarder jumping high above the snow.",
    "A clock tower stands in the middle of town.",
    "The man wasn't sure if it's his dog's ball, is it?",
    "Wow! A baseball player swings at the ball!",
    "Tom skipped school. He went to the park. It was fun. His mother was angry. Tom was sorry.",
    "Anna baked a cake. She burned it. She cried. Her friend helped. They ate it all.",
]


def randomise(model: torch.nn.Module, *, seed: int, spread: float = SPREAD) -> torch.nn.Module:
    """Fill all weights from one seed: matrices with ``spread``, norms near 1, biases small; returns the model in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 0:  # a temperature
                continue
            noise = torch.randn(weight.shape, generator=generator)
            is_scale = weight.dim() == 1 and not name.endswith("bias") and bool((weight == 1).all())
            weight.copy_(1 + 0.1 * noise if is_scale else noise * (0.1 if weight.dim() == 1 else spread))
    return model.eval()


@cache
def language_tokenizer_json() -> str:
    """A byte-level BPE trained on ``CAPTIONS``, in the format of the ``tokenizers`` library."""
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(CAPTIONS * 3, vocab_size=400, min_frequency=2, special_tokens=[END], show_progress=False)
    return bpe.to_str()


def build_language_tokenizer(folder: Path) -> GPT2TokenizerFast:
    """The tokenizer of the tiny GPT-2, with the released models' added tokens in their order (start, pad)."""
    raw = folder / "bpe.json"
    raw.write_text(language_tokenizer_json())
    tokenizer = GPT2TokenizerFast(tokenizer_file=str(raw), bos_token=END, eos_token=END, unk_token=END, model_max_length=128)
    raw.unlink()
    tokenizer.add_tokens([START, PAD])
    tokenizer.pad_token = PAD
    return tokenizer


def build_language_model_folder(folder: Path) -> Path:
    """A GPT-2 of two small layers with its tokenizer, as ``save_pretrained`` writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = build_language_tokenizer(folder)
    end = tokenizer.eos_token_id
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=128, n_embd=48, n_layer=2, n_head=4, resid_pdrop=0.0, embd_pdrop=0.0,
        attn_pdrop=0.0, bos_token_id=end, eos_token_id=end, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    model = randomise(GPT2LMHeadModel(config), seed=0)
    favour_words(model, tokenizer)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def favour_words(model: GPT2LMHeadModel, tokenizer: GPT2TokenizerFast) -> None:
    """Make words and ends likely and lone bytes unlikely, through the length of their (tied) output vectors."""
    weight = model.get_output_embeddings().weight
    with torch.no_grad():
        for i in range(len(tokenizer)):
            text = tokenizer.decode([i])
            if text in (END, "."):
                weight[i] *= 2.0
            elif len(text.strip()) < 2 or not text.strip().isascii() or text in (START, PAD):
                weight[i] *= 0.4


def clip_config(vocab_size: int) -> CLIPConfig:
    """A CLIP of two small layers on either side, with OpenAI's 77 positions and temperature 100."""
    return CLIPConfig(
        text_config={
            "vocab_size": vocab_size, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3,
            "num_attention_heads": 4, "max_position_embeddings": 77, "bos_token_id": vocab_size - 2,
            "eos_token_id": vocab_size - 1, "pad_token_id": vocab_size - 1,
        },
        vision_config={
            "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 32,
            "patch_size": 8,
        },
        projection_dim=24,
        logit_scale_init_value=4.6052,
    )  # fmt: skip


def common_clip_tokenizer(num_merges: int) -> CLIPTokenizer:
    """OpenAI's tokenizer with only the first merges, those of common words."""
    vocabulary, merges = clip_vocabulary()
    words = [*list(vocabulary)[: 512 + num_merges], CLIP_START, END]
    return CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=merges[:num_merges], model_max_length=77)


def build_clip_folder(folder: Path, *, num_merges: int | None = None) -> Path:
    """A tiny ``CLIPModel`` with tokenizer and image processor, as ``save_pretrained`` writes them.

    Args:
        folder: Where to; made.
        num_merges: Merges of the tokenizer; None: all. Reading them all takes longer than everything else about so small a model.
    """
    tokenizer = clip_tokenizer() if num_merges is None else common_clip_tokenizer(num_merges)
    model = randomise(CLIPModel(clip_config(len(tokenizer))), seed=1)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def load_clip(folder: Path) -> HuggingFaceClip:
    """The model of such a folder behind its adapter."""
    options = {"device": torch.device("cpu"), "dtype": torch.float32, "work": WorkCounter()}
    return load_huggingface(folder, family="huggingface_clip", **options)


def build_photos(folder: Path) -> Path:
    """Six small jpg files that differ clearly: gradients, stripes, a disc, noise."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    height, width = 60, 80
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    disc = ((x - 0.5) ** 2 + (y - 0.4) ** 2 < 0.05).astype(float)
    pictures = {
        "gradient": [x, y, 1 - x],
        "sunset": [1 - y / 2, 0.6 - y / 2, 0.3 + 0 * x],
        "stripes": [(np.sin(40 * x) > 0) * 1.0, 0.2 + 0 * x, (np.cos(30 * y) > 0) * 1.0],
        "disc": [disc, 0.8 - 0.6 * disc, 0.1 + 0 * x],
        "noise": list(rng.random((3, height, width))),
        "sky": [0.4 + 0 * x, 0.6 + 0.2 * y, 0.95 - 0.1 * y],
    }
    for name, channels in pictures.items():
        pixels = (np.clip(np.stack(channels, axis=-1), 0, 1) * 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.jpg", quality=95)
    return folder
