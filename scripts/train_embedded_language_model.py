"""Train the embedded caption language model: a small GPT-2 on COCO's training captions, text only.

    python scripts/train_embedded_language_model.py --output build/language_model --epochs 1.5

Stops at the end of its schedule or resumes from ``--output``/checkpoint.pt when started again. The output folder
loads with ``AutoModelForCausalLM`` and ``AutoTokenizer``; weights are saved in fp16.
"""

import argparse
import json
import math
import os
import random
import time
from pathlib import Path

import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import GPT2Config, GPT2LMHeadModel, GPT2TokenizerFast

from magic_cli.data.bundled_coco import load_bundled_coco_captions

START, PAD, END = "<-start_of_text->", "<-pad->", "<|endoftext|>"
HELD_OUT_IMAGES = 1000  # of train2014, for the reported perplexity
IGNORED = -100


def split_captions() -> tuple[list[str], list[str]]:
    """Training and held-out captions: whole images are held out, chosen by a fixed seed."""
    by_image = load_bundled_coco_captions()
    ids = sorted(by_image)
    random.Random(0).shuffle(ids)
    held_out, training = ids[:HELD_OUT_IMAGES], ids[HELD_OUT_IMAGES:]
    return [c for i in training for c in by_image[i]], [c for i in held_out for c in by_image[i]]


def train_tokenizer(captions: list[str], folder: Path, vocab_size: int) -> GPT2TokenizerFast:
    """A byte-level BPE of its own; added tokens in the order of the released models (start, pad)."""
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(captions, vocab_size=vocab_size - 2, min_frequency=2, special_tokens=[END], show_progress=False)
    raw = folder / "bpe.json"
    bpe.save(str(raw))
    tokenizer = GPT2TokenizerFast(
        tokenizer_file=str(raw), bos_token=END, eos_token=END, unk_token=END, pad_token=PAD, model_max_length=128
    )
    tokenizer.add_tokens([START])
    tokenizer.save_pretrained(folder)
    raw.unlink()
    return tokenizer


def batches(samples: list[list[int]], batch_size: int, rng: random.Random):
    """Batches of similar length: shuffle, sort inside pools of 64 batches, shuffle the batches of a pool."""
    order = list(range(len(samples)))
    rng.shuffle(order)
    for start in range(0, len(order), 64 * batch_size):
        pool = sorted(order[start : start + 64 * batch_size], key=lambda i: len(samples[i]))
        cut = [pool[i : i + batch_size] for i in range(0, len(pool), batch_size)]
        rng.shuffle(cut)
        yield from ([samples[i] for i in rows] for rows in cut)


def collate(rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Right-padded inputs (B, T) and labels (B, T); padding is ignored in the loss."""
    width = max(map(len, rows))
    inputs = torch.zeros(len(rows), width, dtype=torch.long)
    labels = torch.full((len(rows), width), IGNORED)
    for i, row in enumerate(rows):
        inputs[i, : len(row)] = labels[i, : len(row)] = torch.tensor(row)
    return inputs, labels


def token_loss(model, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy over real tokens; compiled, since small layers spend their time between the matrix products."""
    with torch.autocast("cpu", torch.bfloat16):
        hidden = model.transformer(inputs, use_cache=False).last_hidden_state
        logits = model.lm_head(hidden).flatten(0, 1)
    return torch.nn.functional.cross_entropy(logits.float(), labels.flatten(), ignore_index=IGNORED)


def loss_of(model, rows, loss=token_loss) -> torch.Tensor:
    """Loss of one batch of token rows."""
    inputs, labels = collate(rows)
    return loss(model, inputs[:, :-1], labels[:, 1:])


@torch.no_grad()
def perplexity(model, samples, batch_size=256) -> float:
    """exp of the mean token loss over all samples."""
    model.eval()
    total = count = 0
    for start in range(0, len(samples), batch_size):
        rows = samples[start : start + batch_size]
        tokens = sum(len(row) - 1 for row in rows)
        total += loss_of(model, rows).item() * tokens
        count += tokens
    model.train()
    return math.exp(total / count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--epochs", type=float, default=4.0)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--vocab-size", type=int, default=8192)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--max-steps", type=int, default=None, help="for a quick try")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    args.output.mkdir(parents=True, exist_ok=True)

    training, held_out = split_captions()
    if (args.output / "tokenizer.json").exists():
        tokenizer = GPT2TokenizerFast.from_pretrained(args.output)
    else:
        tokenizer = train_tokenizer(training, args.output, args.vocab_size)
    start, end = tokenizer.convert_tokens_to_ids([START, END])

    def encode(captions):
        return [[start, *ids[:64], end] for ids in tokenizer(captions)["input_ids"] if len(ids) > 1]

    training, held_out = encode(training), encode(held_out)
    model = GPT2LMHeadModel(GPT2Config(
        vocab_size=len(tokenizer), n_positions=128, n_embd=args.width, n_layer=args.layers, n_head=args.width // 32,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=end, eos_token_id=end, pad_token_id=tokenizer.pad_token_id,
    ))
    total = int(args.epochs * len(training) / args.batch_size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: min((s + 1) / 300, 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1, s / total))))
    )
    step, checkpoint = 0, args.output / "checkpoint.pt"
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        schedule.load_state_dict(saved["schedule"])
        step = saved["step"]
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(training):,} captions, {total} steps, at {step}", flush=True)

    model.train()
    compiled = torch.compile(token_loss, dynamic=True)
    per_epoch = -(-len(training) // args.batch_size)
    began, tokens = time.time(), 0
    stop = min(total, args.max_steps or total)
    while step < stop:
        epoch, done = divmod(step, per_epoch)
        for index, rows in enumerate(batches(training, args.batch_size, random.Random(epoch))):
            if index < done:
                continue
            loss = loss_of(model, rows, compiled)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            tokens += sum(map(len, rows))
            if step % 100 == 0:
                print(f"step {step} loss {loss.item():.3f} tokens/s {tokens / (time.time() - began):.0f}", flush=True)
            if step % 500 == 0 or step >= stop:
                state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict(), "step": step}
                torch.save(state, checkpoint.with_suffix(".tmp"))
                os.replace(checkpoint.with_suffix(".tmp"), checkpoint)
            if step >= stop:
                break
    report = {"held_out_perplexity": perplexity(model, held_out), "steps": step, "epochs": step / per_epoch, "seconds": time.time() - began}
    model.half().save_pretrained(args.output)
    (args.output / "training.json").write_text(json.dumps(report | vars(args) | {"output": None}, indent=2, default=str) + "\n")
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()
