"""What `magic finetune-lm` is worth: speed beside a plain Trainer loop, the contrastive term, resuming after kill -9.

    python scripts/measure_finetuning.py speed --output build/speed --steps 50 --repeats 3 --batch-size 128 --validation 300
    python scripts/measure_finetuning.py contrast --output build/contrast --steps 700 --limit 20000 --layers 2
    python scripts/measure_finetuning.py kills --output build/kills --steps 300 --kills 10

All train a fresh GPT-2 on COCO's train2014 captions from the pycocoevalcap package, or on --texts FILE, one a line. Each part
prints its numbers as JSON and writes them, with the loss curves, into --output.
"""

import argparse
import contextlib
import hashlib
import io
import json
import random
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

from magic_cli.cli.main import main as magic
from magic_cli.data.training_texts import SourceKind, TextDataset, TextSource
from magic_cli.models.settings import LanguageModelSettings
from magic_cli.training.measuring import measure
from magic_cli.training.objective import Objective
from magic_cli.training.samples import Samples, encode
from magic_cli.training.settings import FinetuneSettings, FreshModel
from magic_cli.training.starting_model import begin, start_id

RESULT = ("model.safetensors", "config.json", "tokenizer.json", "metrics.jsonl", "report.json")
CLOSE = 1.05  # ratio of perplexities that are called equal


class Setup:
    """Texts and a fresh model in files, the same for everything that is compared."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.folder = args, args.output.absolute()
        self.folder.mkdir(parents=True, exist_ok=True)
        source = TextSource(path=str(args.texts)) if args.texts else TextSource(kind=SourceKind.bundled_coco)
        training, validation = TextDataset(train=[source], held_out=args.held_out, limit=args.limit).training_and_validation()
        self.texts = {"training": training, "validation": validation[: args.validation]}
        for name, texts in self.texts.items():
            (self.folder / f"{name}.txt").write_text("".join(f"{text}\n" for text in texts))
        fresh = FreshModel(layers=args.layers, width=args.width, heads=max(1, args.width // 32), vocab_size=args.vocab_size)
        settings = FinetuneSettings(TextDataset(train=[source], held_out=1), LanguageModelSettings(name="none"), fresh=fresh)
        self.base = self.folder / "base"
        model, self.tokenizer, _ = begin(settings, training, self.folder / "no tokenizer")
        model.save_pretrained(self.base)
        self.tokenizer.save_pretrained(self.base)

    def words(self, folder: Path, *more: str) -> list[str]:
        """The command line of a run."""
        sources = [
            f"dataset.{key}=[{{kind: text, path: '{self.folder / name}.txt'}}]"
            for key, name in (("train", "training"), ("validation", "validation"))
        ]
        args = self.args
        return [
            "finetune-lm", *sources, "dataset.held_out=0", f"language_model.path={self.base}", "language_model=embedded",
            f"optimizer.steps={args.steps}", f"optimizer.lr={args.lr}", "optimizer.warmup=0.05", f"run.batch_size={args.batch_size}",
            "run.accumulation=1", f"validate.every={args.steps}", "run.device=cpu", f"run.threads={args.threads}", "run.log_every=10",
            "--output", str(folder), *more,
        ]  # fmt: skip

    def run(self, name: str, *more: str) -> dict:
        """A run of the command, from the beginning; its report, manifest and metrics."""
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.redirect_stdout(io.StringIO()):
            if status := magic(self.words(folder, *more)):
                sys.exit(f"magic finetune-lm exited with {status}")
        read = lambda file: json.loads((folder / file).read_text())
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        return {"report": read("report.json"), "manifest": read("manifest.json"), "lines": lines}

    def samples(self, name: str) -> Samples:
        """Samples of the texts, as the command makes them."""
        form = TextDataset(train=[TextSource(path="-")], held_out=1).form
        return encode(self.texts[name], self.tokenizer, form=form, start_id=start_id(self.tokenizer, None), max_length=64)


def plain_trainer(setup: Setup, turn: int) -> dict:
    """transformers' Trainer as one writes it: same start, samples, steps and optimizer; random batches padded to their longest."""
    from transformers import AutoModelForCausalLM, DataCollatorForLanguageModeling, Trainer, TrainingArguments

    args, counted = setup.args, []
    model = AutoModelForCausalLM.from_pretrained(setup.base)
    collate = DataCollatorForLanguageModeling(setup.tokenizer, mlm=False)

    def counting(rows: list) -> dict:
        counted.append(sum(len(row["input_ids"]) - 1 for row in rows))
        batch = collate(rows)
        batch["labels"][:, 0] = -100  # nothing predicts the first token, and the Trainer would count it in its mean
        return batch

    options = TrainingArguments(
        output_dir=str(setup.folder / "trainer"), max_steps=args.steps, per_device_train_batch_size=args.batch_size, learning_rate=args.lr,
        lr_scheduler_type="linear", warmup_steps=int(0.05 * args.steps), adam_epsilon=1e-6, weight_decay=0.0, max_grad_norm=1.0,
        logging_steps=10, save_strategy="no", report_to=[], use_cpu=True, disable_tqdm=True, seed=turn,
    )  # fmt: skip
    rows = [{"input_ids": row} for row in setup.samples("training").rows]
    trainer = Trainer(model=model, args=options, train_dataset=rows, data_collator=counting)
    began = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        trainer.train()
    seconds = time.perf_counter() - began
    curve = [(entry["step"], float(entry["loss"])) for entry in trainer.state.log_history if "loss" in entry]
    loss = measure(Objective(model), setup.samples("validation"))["loss"]
    return {"tokens_per_second": sum(counted) / seconds, "seconds": seconds, "validation_loss": loss, "curve": curve}


def ours(setup: Setup, turn: int, margin: float, *more: str) -> dict:
    """The command, in the form of ``plain_trainer``."""
    found = setup.run("ours", f"objective.margin={margin}", f"run.seed={turn}", f"run.checkpoint_every={setup.args.steps}", *more)
    curve = [(line["step"], line["loss"]) for line in found["lines"] if "loss" in line]
    return {
        "tokens_per_second": found["manifest"]["tokens_per_second"], "seconds": found["manifest"]["training_seconds"],
        "validation_loss": found["report"]["after"]["loss"], "padding": found["report"]["padding"], "curve": curve,
    }  # fmt: skip


def speed(setup: Setup) -> dict:
    """Real tokens a second of both, in turn; losses of both. The command's seconds include its last validation and checkpoint."""
    torch.set_num_threads(setup.args.threads)
    runs: dict[str, list[dict]] = {"trainer": [], "magic": [], "magic_with_contrast": []}
    for turn in range(setup.args.repeats):
        runs["trainer"].append(plain_trainer(setup, turn))
        runs["magic"].append(ours(setup, turn, margin=0.0))
        runs["magic_with_contrast"].append(ours(setup, turn, margin=0.5))
    medians = {name: statistics.median(run["tokens_per_second"] for run in of) for name, of in runs.items()}
    half = setup.args.steps // 2
    late = {
        name: [statistics.mean(loss for step, loss in run["curve"] if step > half) for run in of] for name, of in runs.items()
    }
    return {
        "tokens_per_second": medians,
        "times_as_fast": medians["magic"] / medians["trainer"],
        "times_as_fast_with_contrast": medians["magic_with_contrast"] / medians["trainer"],
        "mean_loss_of_second_half": late,
        "validation_loss": {name: [run["validation_loss"] for run in of] for name, of in runs.items()},
        "runs": runs,
    }


def contrast(setup: Setup) -> dict:
    """Perplexity and token similarity with and without the contrastive term, where each first reached what both reached."""
    every = f"validate.every={max(1, setup.args.steps // 20)}"
    found = {}
    for name, margin in (("without", 0.0), ("with", setup.args.margin)):
        lines = setup.run(name, f"objective.margin={margin}", f"objective.normalisation={setup.args.normalisation}", every)[
            "lines"
        ]
        found[name] = [
            {"step": line["step"], "perplexity": line["validation"]["perplexity_per_token"], "similarity": line["validation"]["token_similarity"]}
            for line in lines if "validation" in line
        ]  # fmt: skip
    reached = max(min(point["perplexity"] for point in points) for points in found.values())  # by both
    chosen = {name: next(point for point in points if point["perplexity"] <= reached) for name, points in found.items()}
    perplexities = [point["perplexity"] for point in chosen.values()]
    return {**chosen, "perplexities_equal_within_5_percent": max(perplexities) <= CLOSE * min(perplexities), "points": found}


def kills(setup: Setup) -> dict:
    """Runs that are killed at a random moment each and started again, against one that was left alone."""
    more = ["run.checkpoint_every=7", "validate.every=50", "optimizer.dropout=0.1"]
    whole = setup.folder / "whole"
    seconds = started_afresh(setup, whole, more).wait_all()
    expected, moments = digests(whole), []
    for number in range(setup.args.kills):
        folder, wait = setup.folder / f"killed-{number}", random.uniform(0, seconds)
        run = started_afresh(setup, folder, more)
        time.sleep(wait)
        status = run.kill()
        steps = sorted(file.name for file in (folder / "checkpoints").glob("step-*"))
        started(setup, folder, more).wait_all()
        moments.append(
            {
                "after_seconds": round(wait, 2),
                "status": status,
                "checkpoint": steps[-1] if steps else None,
                "identical": digests(folder) == expected,
            }
        )
        print(json.dumps(moments[-1]), file=sys.stderr)
    return {"undisturbed_seconds": seconds, "kills": moments, "all_identical": all(moment["identical"] for moment in moments)}


class Started:
    """A run in a process of its own."""

    def __init__(self, words: list[str]) -> None:
        self.began = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "magic_cli", *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )

    def wait_all(self) -> float:
        """Seconds until it ended well."""
        _, errors = self.process.communicate()
        if self.process.returncode:
            sys.exit(f"magic finetune-lm exited with {self.process.returncode}: {errors[-500:]}")
        return time.perf_counter() - self.began

    def kill(self) -> int:
        """Kill -9; returns the exit status."""
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()
        return self.process.returncode


def started(setup: Setup, folder: Path, more: list[str]) -> Started:
    """A run, going on where it stopped."""
    return Started(setup.words(folder, *more))


def started_afresh(setup: Setup, folder: Path, more: list[str]) -> Started:
    """A run from its beginning."""
    shutil.rmtree(folder, ignore_errors=True)
    return started(setup, folder, more)


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of what a run ends with."""
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in RESULT}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = {"speed": speed, "contrast": contrast, "kills": kills}
    parser.add_argument("part", choices=parts)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--texts", type=Path, help="a text a line; default: COCO's train2014 captions")
    parser.add_argument("--held-out", type=float, default=1000, help="images, or lines, for validation")
    parser.add_argument("--limit", type=int, help="only so many training texts")
    parser.add_argument("--validation", type=int, default=2000, help="validation texts")
    for name, default in (
        ("steps", 300),
        ("layers", 4),
        ("width", 256),
        ("vocab-size", 8192),
        ("batch-size", 32),
        ("threads", 2),
        ("repeats", 3),
        ("kills", 10),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--margin", type=float, default=0.5)
    parser.add_argument("--normalisation", choices=("batch", "sequence"), default="batch")
    args = parser.parse_args()
    if args.texts and not args.texts.is_file():
        parser.error(f"--texts {args.texts}: no such file")
    setup = Setup(args)
    found = {"part": args.part, "settings": vars(args) | {"output": None}} | parts[args.part](setup)
    text = json.dumps(found, indent=1, default=str) + "\n"
    (setup.folder / f"{args.part}.json").write_text(text)
    print(text, end="")


if __name__ == "__main__":
    main()
