"""Tokenizers of the paper's sizes that need no model hub."""

from __future__ import annotations

import gzip
import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

from magic_cli.errors import MagicError

CLIP_START, END, START, PAD = "<|startoftext|>", "<|endoftext|>", "<-start_of_text->", "<-pad->"
GPT2_END_ID = 50256  # GPT-2's own; the released models add <-start_of_text-> and <-pad-> after it

_CLIP_MERGES = 49152 - 256 - 2


@cache
def clip_vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """OpenAI's 49,408 tokens and their merges, from the file inside the ``clip`` package.

    Raises:
        MagicError: The package is missing.
    """
    spec = importlib.util.find_spec("clip")
    if spec is None or not spec.submodule_search_locations:
        raise MagicError("CLIP's vocabulary comes with the package clip-anytorch; pip install clip-anytorch==2.6.0")
    file = Path(spec.submodule_search_locations[0]) / "bpe_simple_vocab_16e6.txt.gz"
    lines = gzip.decompress(file.read_bytes()).decode("utf-8").split("\n")
    pairs = [line.split() for line in lines[1 : _CLIP_MERGES + 1]]
    merges = [(first, second) for first, second in pairs]
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = [chr(byte) for byte in printable] + [chr(256 + i) for i in range(len(others))]
    words = [*letters, *(letter + "</w>" for letter in letters), *("".join(merge) for merge in merges), CLIP_START, END]
    return {word: i for i, word in enumerate(words)}, merges


def clip_tokenizer() -> Any:
    """OpenAI's CLIP tokenizer, for at most 77 tokens (a ``CLIPTokenizer``)."""
    from transformers import CLIPTokenizer

    vocabulary, merges = clip_vocabulary()
    return CLIPTokenizer(vocab=dict(vocabulary), merges=list(merges), model_max_length=77)  # type: ignore[arg-type]  # pairs are taken, too


def gpt2_sized_tokenizer() -> Any:
    """A tokenizer of 50,259 tokens for random weights: one word per token, and the special tokens of the released models.

    No package here contains GPT-2's own vocabulary, so CLIP's words replace it. It can decode everything, but encode only the
    special tokens.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = dict.fromkeys(word.removesuffix("</w>") for word in clip_vocabulary()[0] if word.endswith("</w>"))
    vocabulary = {f"Ġ{word}": i for i, word in enumerate(words)}
    for i in range(len(vocabulary), GPT2_END_ID):
        vocabulary[f"Ġfiller{i}"] = i
    vocabulary |= {END: GPT2_END_ID, START: GPT2_END_ID + 1, PAD: GPT2_END_ID + 2}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token=END, bos_token=END)
