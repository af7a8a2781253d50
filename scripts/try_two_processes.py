"""Finetune in one process, in two, and in two of which one is killed: the losses side by side.

    python scripts/try_two_processes.py

The update is of the same texts however many processes share it, so the losses must be the same but for rounding, and the run that was
killed must end with the bytes of the one that was not. Ends with status 1 if they differ by more than --most.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

SAME = ("model.safetensors", "metrics.jsonl", "report.json", "checkpoints/best.pt")
TEXTS = ["dataset=bundled_coco", "--language-model", "embedded", "dataset.limit=2000", "validate.limit=200"]
"""The model that ships, and more texts than it sees: of all, most of the time would go into splitting 409,110 into tokens and measuring on
5,003 held out, anew at each start."""


def command(processes: int, words: list[str], folder: Path) -> list[str]:
    """What starts a run, or goes on with it."""
    several = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)] if processes > 1 else []
    return [sys.executable, *several, "-m", "magic_cli", "finetune-lm", *words, "--output", str(folder)]


def processes_below(pid: int) -> list[int]:
    """The processes that a process has started and that are alive."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def finish(words: list[str], processes: int, folder: Path) -> None:
    """Start a run and wait for its end."""
    answer = subprocess.run(command(processes, words, folder), capture_output=True, text=True)
    if answer.returncode:
        sys.exit(f"the run in {folder} failed:\n{answer.stderr[-3000:]}")


def kill_one(words: list[str], folder: Path, *, rank: int) -> bool:
    """Start a run in two processes and end one of them after its first new checkpoint; whether it was still training."""
    checkpoints = folder / "checkpoints"
    before = set(checkpoints.glob("step-*.pt"))
    launcher = subprocess.Popen(command(2, words, folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while launcher.poll() is None and not set(checkpoints.glob("step-*.pt")) - before:
        time.sleep(0.01)
    if launcher.poll() is not None:
        return False
    os.kill(processes_below(launcher.pid)[rank], signal.SIGKILL)
    launcher.wait()
    return True


def losses(folder: Path) -> dict[str, float]:
    """Every loss that metrics.jsonl has, of updates and of measurements, by step."""
    found = {}
    for line in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines()):
        if "validation" in line:
            found[f"{line['step']} measured"] = line["validation"]["loss"]
        else:
            found[f"{line['step']}"] = line["loss"]
    return found


def main() -> int:
    """Run all three and compare; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/two_processes"), help="where the three runs are written")
    parser.add_argument("--steps", type=int, default=20, help="updates of each run")
    parser.add_argument("--most", type=float, default=1e-6, help="largest difference of two losses")
    parser.add_argument(
        "settings", nargs="*", help="of magic finetune-lm; default: the embedded language model on 2,000 of COCO's captions"
    )
    arguments = parser.parse_args()
    every = max(1, arguments.steps // 4)
    words = [
        *(arguments.settings or TEXTS), "run.device=cpu", "run.threads=1", "run.batch_size=8", "run.accumulation=2", "optimizer.dropout=0.1",
        f"optimizer.steps={arguments.steps}", "run.log_every=1", f"validate.every={arguments.steps}", f"run.checkpoint_every={every}",
    ]  # fmt: skip
    if arguments.folder.exists():
        sys.exit(f"{arguments.folder} is there already; delete it, or name another --folder")
    one, two, killed = (arguments.folder / name for name in ("one", "two", "killed"))
    finish(words, 1, one)
    finish(words, 2, two)
    kills = sum(kill_one(words, killed, rank=rank) for rank in (1, 0))
    finish(words, 2, killed)
    columns = [losses(folder) for folder in (one, two, killed)]
    print(f"| step | one process | two | two, one of them killed {kills} times |\n| --- | ---: | ---: | ---: |")
    for step in columns[0]:
        print(f"| {step} | " + " | ".join(f"{column[step]:.8f}" for column in columns) + " |")
    worst = max(abs(columns[0][step] - columns[1][step]) for step in columns[0])
    differing = [name for name in SAME if (two / name).read_bytes() != (killed / name).read_bytes()]
    print(f"\nLargest difference of one process and two: {worst:.1e}")
    print(f"After {kills} kills: " + (f"OTHER BYTES in {', '.join(differing)}" if differing else "the same bytes"))
    return int(worst > arguments.most or bool(differing) or kills < 2)


if __name__ == "__main__":
    sys.exit(main())
