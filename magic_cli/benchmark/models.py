"""Models with the paper's shapes that need no hub: GPT-2 small and CLIP ViT-B/32.

There are three language models and two image-text models. All cost as much arithmetic as the real ones:

    network, tokenizer = widened_language_model()      # GPT-2 small's shape, writes captions ("natural text")
    network, tokenizer = random_language_model()       # random weights, never ends a caption
    clip = random_clip(work=work)                      # ViT-B/32, OpenAI's tokenizer, random weights
    model = HuggingFaceLanguageModel(network, tokenizer, work=work)
    model.prepare(decoding_len=16, num_candidates=45)
    generate(model, MagicSearch(decoding_len=16, k=45, alpha=0.1, beta=2.0), [[model.start_id]] * 8,
             guidance=Guidance(clip, random_images(8)), text_format=CaptionFormat(model))
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedModel,
)

from magic_cli.benchmark.vocabulary import GPT2_END_ID, clip_tokenizer, gpt2_sized_tokenizer
from magic_cli.benchmark.widening import forbid, widen
from magic_cli.models.image_text.huggingface_clip import HuggingFaceClip
from magic_cli.models.loading import quiet_libraries
from magic_cli.models.sources import EMBEDDED_FOLDER
from magic_cli.models.work_counter import WorkCounter

N = TypeVar("N", bound=PreTrainedModel)
VOCABULARY_SIZE = 50259
PROJECTION = 512

CLIP_SHARPNESS = 64.0
"""Factor on the attention scores of random CLIP; see ``random_clip``."""


def paper_config() -> GPT2Config:
    """GPT-2 small with the released models' two added tokens: 12 layers, width 768, 12 heads, 1,024 positions."""
    return GPT2Config(vocab_size=VOCABULARY_SIZE, eos_token_id=GPT2_END_ID, bos_token_id=GPT2_END_ID)


def random_language_model(*, seed: int = 0, dtype: torch.dtype = torch.float32) -> tuple[GPT2LMHeadModel, Any]:
    """GPT-2 small with random weights, and a tokenizer of the same size."""
    with _seeded(seed):
        network = GPT2LMHeadModel(paper_config())
    return moved(network, dtype).eval(), gpt2_sized_tokenizer()


def embedded_language_model(*, dtype: torch.dtype = torch.float32) -> tuple[GPT2LMHeadModel, Any]:
    """The small caption model that ships with magic, and its tokenizer."""
    quiet_libraries()
    folder = EMBEDDED_FOLDER / "language_model"
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval(), AutoTokenizer.from_pretrained(folder)


def widened_language_model(*, seed: int = 0, dtype: torch.dtype = torch.float32) -> tuple[GPT2LMHeadModel, Any]:
    """GPT-2 small's shape with the function and the tokenizer of the embedded caption model: natural text at the paper's cost."""
    small, tokenizer = embedded_language_model()
    with _seeded(seed):
        network = widen(small, paper_config())
    return moved(network, dtype).eval(), tokenizer


def endless_language_model(*, seed: int = 0, dtype: torch.dtype = torch.float32) -> tuple[GPT2LMHeadModel, Any]:
    """``widened_language_model`` without end-of-text: it writes sentence after sentence, for stories and long texts."""
    network, tokenizer = widened_language_model(seed=seed)
    forbid(network, tokenizer.eos_token_id)
    return moved(network, dtype), tokenizer


def random_clip(
    *, seed: int = 0, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu", work: WorkCounter | None = None
) -> HuggingFaceClip:
    """CLIP ViT-B/32 with random weights and OpenAI's tokenizer.

    The spread of 100 x cosine over a step's candidates decides how many of them the lazy evaluation must compute. Fresh random
    weights attend to everything equally and give nearly the same feature for all texts (spread 0.3 to 1.2). With attention
    sharpened by ``CLIP_SHARPNESS`` the spread is 1.3 to 1.7, as in a trained CLIP.
    """
    tokenizer = clip_tokenizer()
    start, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    with _seeded(seed):
        model = CLIPModel(CLIPConfig(text_config={"bos_token_id": start, "eos_token_id": end, "pad_token_id": end}))
    with torch.no_grad():
        for layer in model.text_model.encoder.layers:
            layer.self_attn.q_proj.weight *= CLIP_SHARPNESS
    return HuggingFaceClip(moved(model, device, dtype), tokenizer, CLIPImageProcessorPil(), logit_scale=100.0, work=work)


def moved(network: N, *places: torch.device | torch.dtype | str) -> N:
    """The network, after ``network.to(*places)``."""
    return network.to(*places)  # type: ignore[arg-type]  # transformers wraps the method in one without self


def random_images(number: int, *, seed: int = 0, width: int = PROJECTION) -> Tensor:
    """(number, width) features of length 1 in random directions; random CLIP could not tell photos apart anyway."""
    features = torch.randn(number, width, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(features, dim=-1)


class _seeded:
    """A context that draws from a seed and leaves the process's own generator unchanged."""

    def __init__(self, seed: int) -> None:
        self._seed, self._fork = seed, torch.random.fork_rng(devices=[])

    def __enter__(self) -> None:
        self._fork.__enter__()
        torch.manual_seed(self._seed)

    def __exit__(self, *error: Any) -> None:
        self._fork.__exit__(*error)
