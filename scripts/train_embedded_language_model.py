"""Train the embedded caption language model and put it where magic ships it from: `magic finetune-lm`, then fp16 and a card.

    python scripts/train_embedded_language_model.py --run build/language_model
    python scripts/train_embedded_language_model.py --run build/language_model --output build/shipped optimizer.epochs=2

Resumes when started again. Further words are settings of `magic finetune-lm`.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from magic_cli.cli import main as magic
from magic_cli.models.sources import EMBEDDED_FOLDER

CARD = """# Embedded caption language model

A **demo model**: it lets `magic` caption photos with no model hub. It is not one of the paper's models and its numbers
are not to be compared with the paper's.

- **Architecture:** GPT-2, {layers} layers, width {width}, {heads} heads, {positions} positions, {parameters:.1f} million parameters, fp16 on
  disk; a byte-level BPE of its own with {vocabulary:,} tokens, trained on the same text. `<-start_of_text->` opens a caption,
  `<|endoftext|>` ends it.
- **Training text:** the official COCO `captions_train2014.json` that travels inside the pycocoevalcap wheel: {samples:,} captions,
  text only, no images. No text of val2014, which holds the Karpathy validation and test images. The {held_out:,} captions of
  {images:,} further train2014 images were held out for the numbers below.
- **Training:** maximum likelihood{contrast}, {passes:.2f} passes ({steps:,} steps of {batch} captions), AdamW, learning rate
  {lr:g}, {shape} decay, {dtype}; {seconds:,.0f} seconds at {speed:,.0f} tokens a second (`training.json`).
- **Held-out captions:** perplexity {token:.2f} per token of its own vocabulary (not comparable across vocabularies), {word:.2f} per
  word; token similarity {similarity:.3f}.
- **Limits:** English, COCO's everyday scenes and phrasing, about 15 words. It repeats COCO's biases about people. No stories.
- **Licence:** the weights are MIT like the rest of magic; COCO's captions are licensed CC BY 4.0 by the COCO Consortium.

Rebuild it (resumes when started again):

```
{command}
```
"""


def card(report: dict, manifest: dict, command: str) -> str:
    """The model card of a run."""
    settings, seconds, after = manifest["identity"], manifest["training_seconds"], report["after"]
    fresh, optimizer = settings["fresh"], settings["optimizer"]
    margin = settings["objective"]["margin"]
    return CARD.format(
        **{name: fresh[name] for name in ("layers", "width", "heads", "positions")},
        parameters=report["parameters"] / 1e6, vocabulary=fresh["vocab_size"], samples=report["training_texts"]["samples"],
        held_out=report["validation_texts"]["samples"], images=round(settings["dataset"]["held_out"]), passes=report["passes"],
        contrast=f" and SimCTG's contrastive term, margin {margin:g}" if margin else "", steps=report["steps"],
        batch=settings["run"]["batch_size"] * settings["run"]["accumulation"], lr=optimizer["lr"], shape=optimizer["shape"],
        dtype=settings["run"]["dtype"], seconds=seconds, speed=manifest["tokens_per_second"], token=after["perplexity_per_token"],
        word=after["perplexity_per_word"], similarity=after["token_similarity"], command=command,
    )  # fmt: skip


def ship(run: Path, output: Path, command: str) -> None:
    """Copy a run's model as it is shipped: weights in fp16, tokenizer, numbers, card."""
    manifest = json.loads((run / "manifest.json").read_text())
    report = json.loads((run / "report.json").read_text())
    output.mkdir(parents=True, exist_ok=True)
    AutoModelForCausalLM.from_pretrained(run, dtype=torch.float16).save_pretrained(output)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(run / name, output / name)
    (output / "training.json").write_text(json.dumps(report, indent=2) + "\n")
    (output / "README.md").write_text(card(report, manifest, command))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("build/language_model"), help="folder of the training run")
    parser.add_argument("--output", type=Path, default=EMBEDDED_FOLDER / "language_model", help="where the shipped files go")
    args, settings = parser.parse_known_args()
    if status := magic(["finetune-lm", "experiment=finetune_embedded", "--output", str(args.run), *settings]):
        sys.exit(status)
    ship(args.run, args.output, " ".join(["python scripts/train_embedded_language_model.py --run build/language_model", *settings]))
    print((args.output / "README.md").read_text())


if __name__ == "__main__":
    main()
