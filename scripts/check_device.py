"""What a device does with settings that may change texts, with training, and with MiniGPT-5: the third part of check_gpu.sh.

    python scripts/check_device.py --device cuda --output runs/gpu/more

Captions in bfloat16, compiled, and in batches of the size that fits, beside those in float32; one epoch of finetuning, once undisturbed
and once killed; stories with images by a tiny MiniGPT-5 (random weights), on the device and on the CPU. Prints tables, and ends with 1
if something differs that must not: only bfloat16 may change a caption, and only drawn images may round otherwise.
"""

import argparse
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # for tests.interleaved_models

PARTS = ("captions", "finetune", "interleave")
WAYS = {
    "float32": ["run.batch_size=64"],
    "bfloat16": ["run.batch_size=64", "run.dtype=bfloat16"],
    "compiled": ["run.batch_size=64", "run.compile=true"],
    "batch_size=auto": ["run.batch_size=auto"],
}
MAY_DIFFER = ("bfloat16",)
HELD_OUT = 64
"""Texts to measure on, beside those of the epoch."""
SAME = ("model.safetensors", "metrics.jsonl", "report.json")


class Check:
    """The parts, on one device.

    Args:
        device: As ``run.device``.
        output: A new folder of all runs.

    Attributes:
        faults: What differs that must not.
    """

    def __init__(self, device: str, output: Path) -> None:
        self.device, self.output = device, output
        self.faults: list[str] = []

    def captions(self, photos: int, ways: Sequence[str]) -> Iterator[str]:
        """The embedded models on copies of the sample photos."""
        folder = self.output / "photos"
        folder.mkdir(parents=True)
        found = sorted((ROOT / "data" / "photos").glob("*.jpg"))
        for number in range(photos):  # each is another file, and so another picture to look at
            (folder / f"{number:04d}.jpg").write_bytes(found[number % len(found)].read_bytes() + number.to_bytes(4, "big"))
        yield "| captions | batch | speed without loading | changed |\n| --- | ---: | ---: | ---: |"
        written: dict[str, list] = {}
        for way in ways:
            run = self.output / way
            told = self.magic("caption", "--images", folder, "run.cache_images=false", f"run.dir={run}", *WAYS[way])
            manifest = json.loads((run / "manifest.json").read_text())
            written[way] = [json.loads(line)["token_ids"] for line in (run / "predictions.jsonl").read_text().splitlines()]
            changed = sum(one != other for one, other in zip(written[way], written[ways[0]], strict=True))
            if changed and way not in MAY_DIFFER:
                self.faults.append(f"{way} changes {changed} of {photos} captions")
            size = manifest["batch_size"]["chosen"] if "batch_size" in manifest else 64
            [speed] = re.findall(r"of it loading: (.+);", told)
            yield f"| {way} | {size} | {speed} | {changed} of {photos} |"

    def finetune(self, texts: Path, batch: int) -> Iterator[str]:
        """One epoch of the embedded language model, undisturbed and killed after its first checkpoint."""
        count = len(texts.read_text().splitlines()) - HELD_OUT
        steps = count // batch
        words = [
            "finetune-lm", "--texts", texts, "--language-model", "embedded", f"dataset.held_out={HELD_OUT}", "optimizer.dropout=0.1", f"optimizer.steps={steps}",
            f"run.batch_size={batch}", "run.accumulation=1", f"validate.every={steps}", f"run.checkpoint_every={max(1, steps // 4)}", "--output",
        ]  # fmt: skip
        whole, killed = self.output / "whole", self.output / "killed"
        self.magic(*words, whole)
        kills = self.killed(*words, killed)
        self.magic(*words, killed)
        differing = [name for name in SAME if (whole / name).read_bytes() != (killed / name).read_bytes()]
        if differing or not kills:
            self.faults.append(f"finetuning after {kills} kills: other bytes in {', '.join(differing) or 'nothing'}")
        seconds = json.loads((whole / "manifest.json").read_text())["training_seconds"]
        yield "| finetuning | captions | captions a second | kills | files that differ after them |\n| --- | ---: | ---: | ---: | ---: |"
        yield f"| one epoch, batch {batch} | {count} | {steps * batch / seconds:.0f} | {kills} | {len(differing)} |"

    def interleave(self) -> Iterator[str]:
        """A tiny MiniGPT-5 tells and draws: the texts of the CPU, and nearly its pixels."""
        import numpy as np
        from PIL import Image

        from tests.interleaved_models import build_interleaved_folders

        models = self.output / "interleaved"
        build_interleaved_folders(models)
        parts = [f"interleaved_model.{part}.path={models / part}" for part in ("language_model", "vision", "diffusion")]
        mapper = [f"interleaved_model.mapper.{name}" for name in ("layers=1", "heads=2", "queries=6")]
        items, photo = self.output / "items.jsonl", sorted((ROOT / "data" / "photos").glob("*.jpg"))[0]
        steps = [{"parts": [{"text": "Look:"}, {"image": str(photo)}]}, {"parts": [{"text": "What next?"}]}]
        items.write_text("".join(json.dumps({"id": f"story-{number}", "steps": steps}) + "\n" for number in range(3)))
        words = [
            "interleave", *parts, *mapper, "interleaved_model.vokens=null", "decoding.decoding_len=120", "max_new_tokens=12", "steps=3",
            "force_image=last", "history=self", "--items", items,
        ]  # fmt: skip
        written = {}
        for device in ("cpu", self.device):
            run = self.output / f"told on {device}"
            self.magic(*words, f"run.device={device}", f"run.dir={run}", device=False)
            written[device] = [json.loads(line) for line in (run / "predictions.jsonl").read_text().splitlines()]
        told = [[[step["token_ids"] for step in one["steps"]] for one in of] for of in written.values()]
        pixels = [
            [
                np.asarray(Image.open(self.output / f"told on {device}" / step["image"]), dtype=int)
                for one in of
                for step in one["steps"]
            ]
            for device, of in written.items()
        ]
        most = max(int(abs(a - b).max()) for a, b in zip(pixels[0], pixels[-1], strict=True))
        if told[0] != told[-1] or most > 3:
            self.faults.append(f"magic interleave: other texts than on the CPU, or pixels that differ by {most}")
        yield "| interleave | stories | texts of the CPU | largest difference of a pixel, of 255 |\n| --- | ---: | ---: | ---: |"
        yield f"| on {self.device} | {len(told[0])} | {'all' if told[0] == told[-1] else 'not all'} | {most} |"

    def magic(self, *words: object, device: bool = True) -> str:
        """A command to its end; what it tells."""
        answer = subprocess.run(self.command(words, device=device), capture_output=True, text=True, cwd=ROOT)
        if answer.returncode:
            sys.exit(f"{' '.join(map(str, words))} ended with {answer.returncode}:\n{answer.stderr[-3000:]}")
        return answer.stderr

    def killed(self, *words: object) -> int:
        """Start a training and kill it after its first checkpoint; how often it was killed."""
        checkpoints = Path(str(words[-1])) / "checkpoints"
        process = subprocess.Popen(self.command(words), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT)
        while process.poll() is None and not list(checkpoints.glob("step-*.pt")):
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        return int(process.wait() == -signal.SIGKILL)

    def command(self, words: Sequence[object], *, device: bool = True) -> list[str]:
        """The words of a command on the device."""
        there = [f"run.device={self.device}"] if device else []
        return [sys.executable, "-m", "magic_cli", *map(str, words), *there]


def main() -> int:
    """Check and print; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--output", type=Path, default=Path("runs/device"), help="a new folder")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"of: {','.join(PARTS)}")
    parser.add_argument("--ways", default=",".join(WAYS), help=f"of writing captions, float32 first: {','.join(WAYS)}")
    parser.add_argument("--photos", type=int, default=512, help="to caption, at least")
    parser.add_argument("--texts", type=int, default=20_000, help="of the epoch")
    parser.add_argument("--batch-size", type=int, default=128, help="of the epoch")
    arguments = parser.parse_args()
    output = arguments.output.resolve()
    if output.exists():
        sys.exit(f"--output {output}: is there already; delete it, or name another")
    output.mkdir(parents=True)
    check, parts = Check(arguments.device, output), arguments.parts.split(",")
    if unknown := [part for part in parts if part not in PARTS]:
        sys.exit(f"--parts: no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    tables = {
        "captions": lambda: check.captions(arguments.photos, arguments.ways.split(",")),
        "finetune": lambda: check.finetune(write_texts(output / "texts.txt", arguments.texts + HELD_OUT), arguments.batch_size),
        "interleave": check.interleave,
    }
    for part in parts:
        print(*tables[part](), sep="\n", end="\n\n", flush=True)
    print(*(f"FAULT: {fault}" for fault in check.faults), sep="\n")
    return int(bool(check.faults))


def write_texts(file: Path, number: int) -> Path:
    """So many captions, each another one, of words that the embedded model knows."""
    who, where = (
        ("man", "woman", "dog", "child", "cat", "girl", "boy", "bird", "horse", "team"),
        ("beach", "street", "field", "park", "river"),
    )
    does, how = (
        ("runs", "sits", "stands", "jumps", "plays", "walks", "waits", "rests"),
        ("white", "red", "small", "black", "brown"),
    )
    lines = [
        f"A {how[n % 5]} {who[n // 5 % 10]} {does[n // 50 % 8]} on the {how[n // 400 % 5]} {where[n // 2000 % 5]} {'again ' * (n // 10_000)}."
        for n in range(number)
    ]
    file.write_text("".join(f"{line}\n" for line in lines))
    return file


if __name__ == "__main__":
    sys.exit(main())
