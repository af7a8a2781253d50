"""Train the embedded caption language model and put it where magic ships it from: `magic finetune-lm` twice, then fp16 and a card.

    python scripts/train_embedded_language_model.py --photos DIR
    python scripts/train_embedded_language_model.py --photos DIR --output build/shipped optimizer.steps=500

DIR holds flickr8k/captions.json (COCO format, a `split` per image; only `train` is read). First a model from scratch on COCO's
training captions, then its adaptation to those and Flickr8k's; both resume when started again. Further words are settings of
the second run.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from magic_cli.cli.main import main as magic
from magic_cli.models.sources import EMBEDDED_FOLDER

CARD = """# Embedded caption language model

A **demo model**: it lets `magic` caption photos with no model hub. It is not one of the paper's models and its numbers
are not to be compared with the paper's.

- **Architecture:** GPT-2, {layers} layers, width {width}, {heads} heads, {positions} positions, {parameters:.1f} million parameters, fp16 on
  disk; a byte-level BPE of its own with {vocabulary:,} tokens, trained on COCO's training captions. `<-start_of_text->` opens a
  caption, `<|endoftext|>` ends it.
- **Training text**, no images: the official COCO `captions_train2014.json` that travels inside the pycocoevalcap wheel, and the
  captions of Flickr8k's 6,404 photos of split `train` (none of val, test, or of Flickr30k's test photos), each four times. No text
  of COCO's val2014, which holds the Karpathy validation and test images. The captions of 1,000 train2014 images and of 100
  Flickr8k training photos were held out for the numbers below.
- **Training:** maximum likelihood, AdamW, bfloat16 activations. First from scratch on COCO's captions (about 1.5 passes, learning rate
  1.5e-3), then {steps:,} steps of {batch} captions of the mixture ({passes:.2f} passes, learning rate {lr:g}, {shape} decay,
  {seconds:,.0f} seconds at {speed:,.0f} tokens a second).
- **Held-out captions**, the first 2,000, before and after the second stage: perplexity {before_token:.2f} and {token:.2f} per token of its
  own vocabulary (not comparable across vocabularies), {before_word:.2f} and {word:.2f} per word; token similarity {before_similarity:.3f} and
  {similarity:.3f} (`training.json`).
- **Limits:** English, the everyday scenes and phrasing of COCO and Flickr8k, about 15 words. It repeats their biases about people. No
  stories.
- **Licence and terms:** we add none to MIT, like the rest of magic, and cannot lift those of the texts: COCO's captions are CC BY 4.0 by
  the COCO Consortium; Flickr8k's are given by its owners (University of Illinois) for research and teaching that is not commercial.
  Whether such terms reach weights that were learned from a text is not settled; who needs to be sure uses these weights for research and
  teaching only, or trains others with the command below.

Rebuild it (resumes when started again; the shipped weights' first stage was trained by an earlier loop with the same settings, so a
rebuilt model is its like, not the same to the bit):

```
{command}
```
"""


def card(report: dict, manifest: dict, shape: dict, command: str) -> str:
    """The model card of a second stage's run."""
    optimizer, run = manifest["identity"]["optimizer"], manifest["identity"]["run"]
    before, after = report["before"], report["after"]
    return CARD.format(
        layers=shape["n_layer"], width=shape["n_embd"], heads=shape["n_head"], positions=shape["n_positions"],
        vocabulary=shape["vocab_size"], parameters=report["parameters"] / 1e6, passes=report["passes"], steps=report["steps"],
        batch=run["batch_size"] * run["accumulation"], lr=optimizer["lr"], shape=optimizer["shape"],
        seconds=manifest["training_seconds"], speed=manifest["tokens_per_second"], command=command,
        before_token=before["perplexity_per_token"], before_word=before["perplexity_per_word"], before_similarity=before["token_similarity"],
        token=after["perplexity_per_token"], word=after["perplexity_per_word"], similarity=after["token_similarity"],
    )  # fmt: skip


def ship(run: Path, output: Path, command: str) -> None:
    """Copy a run's model as it is shipped: weights in fp16, tokenizer, numbers, card."""
    manifest = json.loads((run / "manifest.json").read_text())
    report = json.loads((run / "report.json").read_text())
    output.mkdir(parents=True, exist_ok=True)
    model = AutoModelForCausalLM.from_pretrained(run, dtype=torch.float16)
    model.save_pretrained(output)
    (output / "model.safetensors").chmod(0o644)  # safetensors leaves a file that only its owner can read
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(run / name, output / name)
    (output / "training.json").write_text(json.dumps(report, indent=2) + "\n")
    (output / "README.md").write_text(card(report, manifest, model.config.to_dict(), command))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="holds flickr8k/captions.json")
    parser.add_argument("--run", type=Path, default=Path("build/language_model"), help="folder of the two training runs")
    parser.add_argument("--output", type=Path, default=EMBEDDED_FOLDER / "language_model", help="where the shipped files go")
    args, settings = parser.parse_known_args()
    scratch, adapted = args.run / "scratch", args.run / "adapted"
    words = [f"language_model.path={scratch}", f"dataset.path={args.photos / 'flickr8k' / 'captions.json'}", *settings]
    for experiment, folder, overrides in (("finetune_embedded", scratch, []), ("finetune_embedded_adapted", adapted, words)):
        if status := magic(["finetune-lm", f"experiment={experiment}", "--output", str(folder), *overrides]):
            sys.exit(status)
    ship(adapted, args.output, " ".join(["python scripts/train_embedded_language_model.py --photos DIR", *settings]))
    print((args.output / "README.md").read_text())


if __name__ == "__main__":
    main()
