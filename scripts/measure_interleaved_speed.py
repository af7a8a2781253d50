"""How fast the tiny model writes and draws: seconds an image and a text token, by batch and threads, as a Markdown table.

    python scripts/measure_interleaved_speed.py [--output DIR] [--stories 8] [--steps 20]

Stories of five steps, of which each looks back on what was written and drawn (history=self). Seconds are those of the run's own clocks, start and
loading left out. The last column says whether batches of 8 draw what single stories draw. Let nothing else run meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from measure_interleaved import speed
from tiny_world import write_world

BATCHES, THREADS = (1, 8), (1, 2)


def write(items: Path, run: Path, *, batch: int, threads: int, steps: int) -> dict[str, Any]:
    """One run; returns its speed."""
    words = [
        "interleave",
        "--items",
        items,
        "history=self",
        f"steps={steps}",
        "scheduler=ddim",
        "guidance=3",
        f"run.batch_size={batch}",
    ]
    command = [sys.executable, "-m", "magic_cli", *map(str, words), f"run.threads={threads}", f"run.dir={run}", "page.kind=none"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": str(threads)})
    if done.returncode:
        sys.exit(done.stderr)
    return speed(json.loads((run / "manifest.json").read_text(encoding="utf-8")))


def difference(one: Path, other: Path) -> str:
    """How the answers of two runs differ."""
    runs = [[json.loads(line) for line in (run / "predictions.jsonl").read_text().splitlines()] for run in (one, other)]
    steps = [[step for record in records for step in record["steps"]] for records in runs]
    same = all(a["token_ids"] == b["token_ids"] for a, b in zip(*steps, strict=True))
    pixels = [
        [np.asarray(Image.open(run / step["image"]), int) for step in some if step["image"]]
        for run, some in zip((one, other), steps, strict=True)
    ]
    furthest = max(int(np.abs(a - b).max()) for a, b in zip(*pixels, strict=True))
    return f"{'same' if same else 'other'} tokens, pixels within {furthest} of 256 levels"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/interleaved_speed"), help="a folder that is not there yet")
    parser.add_argument("--stories", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20, help="of the sampler (ddim)")
    args = parser.parse_args()
    write_world(args.output / "world", seed=1, captions=0, tasks=0, stories=args.stories)
    print(
        "| threads | batch | seconds an image | seconds a token | share of the diffusion model | beside batch 1 |\n| --- | --- | ---: | ---: | ---: | --- |"
    )
    for threads in THREADS:
        for batch in BATCHES:
            run = args.output / f"threads-{threads}-batch-{batch}"
            found = write(args.output / "world" / "stories.jsonl", run, batch=batch, threads=threads, steps=args.steps)
            beside = difference(args.output / f"threads-{threads}-batch-1", run) if batch > 1 else ""
            columns = (threads, batch, found["seconds_per_image"], found["seconds_per_token"], found["share_of_drawing"], beside)
            print(f"| {' | '.join(map(str, columns))} |", flush=True)


if __name__ == "__main__":
    main()
