"""Seconds per caption, and where they go, on full-size random weights: GPT-2 small and CLIP ViT-B/32.

    python scripts/measure_speed.py --batch-sizes 1 8 --repeats 3

Weights are random (no hub is needed), shapes, vocabularies' sizes and settings are the paper's for COCO: k 45, 15 new
tokens, fp32. Random weights write no end-of-text, so every caption takes all 15 steps.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizerFast, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from magic_cli.decoding.generate import generate
from magic_cli.decoding.magic import MagicSearch
from magic_cli.decoding.method import Guidance
from magic_cli.models.huggingface_clip import HuggingFaceClip
from magic_cli.models.language_model import HuggingFaceLanguageModel
from magic_cli.models.openai_clip import import_clip
from magic_cli.work import Work

STEPS = 15
PHASES = ("language_model", "image_text_model", "text")


def clip_vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """CLIP's real vocabulary and merges, which travel in OpenAI's package."""
    tokenizer = import_clip().simple_tokenizer.SimpleTokenizer()
    merges = [pair for pair, _ in sorted(tokenizer.bpe_ranks.items(), key=lambda item: item[1])]
    return dict(tokenizer.encoder), merges


def build_language_model(work: Work) -> HuggingFaceLanguageModel:
    """GPT-2 small, 50,259 tokens. GPT-2's own vocabulary is in no package: CLIP's words stand in for it."""
    words = [word.replace("</w>", "") for word in clip_vocabulary()[0] if word.endswith("</w>")]
    vocabulary = {f"Ġ{word}": i for i, word in enumerate(dict.fromkeys(words))}
    for i in range(len(vocabulary), 50256):
        vocabulary[f"Ġfiller{i}"] = i
    vocabulary |= {"<|endoftext|>": 50256, "<-start_of_text->": 50257, "<-pad->": 50258}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|endoftext|>", bos_token="<|endoftext|>")
    return HuggingFaceLanguageModel(GPT2LMHeadModel(GPT2Config(vocab_size=50259)), tokenizer, work=work)


def build_clip(work: Work) -> HuggingFaceClip:
    """CLIP ViT-B/32 with its real tokenizer."""
    vocabulary, merges = clip_vocabulary()
    config = CLIPConfig(text_config={"eos_token_id": 49407, "bos_token_id": 49406, "pad_token_id": 49407})
    tokenizer = CLIPTokenizerFast(vocab=vocabulary, merges=merges)
    return HuggingFaceClip(CLIPModel(config), tokenizer, CLIPImageProcessorPil(), logit_scale=100.0, work=work)


def measure(language_model, clip, batch_size: int, repeats: int) -> dict:
    """Medians over ``repeats`` of one batch."""
    method = MagicSearch(decoding_len=STEPS + 1, k=45, alpha=0.1, beta=2.0)
    images = torch.randn(batch_size, clip.model.config.projection_dim, generator=torch.Generator().manual_seed(0))
    work, runs = language_model.work, []
    for _ in range(repeats + 1):  # the first warms up
        work.seconds.clear(), work.counts.clear()
        start = time.perf_counter()
        generated = generate(language_model, method, [[language_model.start_id]] * batch_size, guidance=Guidance(clip, images))
        assert all(len(ids) == STEPS for ids in generated)
        seconds = time.perf_counter() - start
        runs.append({"total": seconds, **{name: work.seconds[name] for name in PHASES}})
    row = {name: statistics.median(run[name] for run in runs[1:]) / batch_size for name in runs[0]}
    row["rest"] = row["total"] - sum(row[name] for name in PHASES)
    counts = {name: work.counts[name] / batch_size for name in ("lm_positions", "head_rows", "texts_encoded", "text_tokens")}
    return {"batch_size": batch_size, "seconds_per_caption": row, "work_per_caption": counts}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    work = Work()
    language_model, clip = build_language_model(work), build_clip(work)
    way = language_model.prepare(decoding_len=STEPS + 1, num_candidates=45)
    print(f"look-ahead {way}, incremental text tower {clip.text_tower is not None}, {args.threads} threads, load {Path('/proc/loadavg').read_text().split()[0]}")
    for batch_size in args.batch_sizes:
        row = measure(language_model, clip, batch_size, args.repeats)
        parts = "  ".join(f"{name} {seconds:.3f} s" for name, seconds in row["seconds_per_caption"].items())
        print(f"batch {batch_size}: {parts}  {json.dumps({k: round(v) for k, v in row['work_per_caption'].items()})}", flush=True)


if __name__ == "__main__":
    main()
