"""What a run of `magic interleave` is worth, by its own true answers: where it draws, how near its images are, and how fast it was.

    python scripts/measure_interleaved.py RUN [RUN ...] --judge DIR [--judge DIR]

By step number: steps, the share of them with an image, and CLIP-I, the mean cosine of drawn and true images under each judge (a CLIP folder).
Placement: the share of steps with an image among those whose true answer has one, and among those whose true answer is a text alone.
Seconds are those of the run's last session that wrote something.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from magic_cli.data.images import open_image
from magic_cli.models.loading import load_image_text_model
from magic_cli.models.settings import Family, ImageTextModelSettings
from magic_cli.models.work_counter import WorkCounter


def clip_similarity(judge: Any, drawn: Sequence[Path], true: Sequence[Path]) -> list[float]:
    """CLIP-I of each pair of image files: the cosine of their features, in [-1, 1]."""
    unit = torch.nn.functional.normalize
    one, other = (unit(judge.encode_images([open_image(file) for file in files]), dim=-1) for files in (drawn, true))
    return (one * other).sum(dim=-1).tolist()


def measure(run: Path, judges: dict[str, Any]) -> dict[str, Any]:
    """All figures of a run."""
    records = [json.loads(line) for line in (run / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    by_step: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for record in records:
        for number, step in enumerate(record["steps"], start=1):
            by_step[number].append(step)
    steps = [step for group in by_step.values() for step in group if "target" in step]
    told = {
        name: [step for step in steps if (_image(step["target"]) is not None) is wanted]
        for name, wanted in (("image", True), ("text", False))
    }
    return {
        "run": str(run),
        "items": len(records),
        "steps": {number: _of_step(run, group, judges) for number, group in sorted(by_step.items())},
        "placement": {f"of {len(group)} {name} targets": _share(group) for name, group in told.items() if group},
        "speed": speed(json.loads((run / "manifest.json").read_text(encoding="utf-8"))),
    }


def _of_step(run: Path, steps: Sequence[dict[str, Any]], judges: dict[str, Any]) -> dict[str, Any]:
    pairs = [(run / step["image"], Path(true)) for step in steps if step["image"] and (true := _image(step.get("target", [])))]
    cosines = {name: clip_similarity(judge, *zip(*pairs, strict=True)) for name, judge in judges.items()} if pairs else {}
    return {"steps": len(steps), "with_image": _share(steps)} | {
        f"CLIP-I {name}": round(sum(one) / len(one), 3) for name, one in cosines.items()
    }


def _share(steps: Sequence[dict[str, Any]]) -> float:
    return round(sum(step["image"] is not None for step in steps) / len(steps), 3)


def _image(parts: Sequence[dict[str, Any]]) -> str | None:
    return next((part["image"] for part in parts if "image" in part), None)


def speed(manifest: dict[str, Any]) -> dict[str, Any]:
    session = next((session for session in reversed(manifest["sessions"]) if session.get("work", {}).get("tokens_written")), None)
    if session is None:
        return {}
    work, seconds = session["work"], session["phase_seconds"]
    busy = {name: seconds.get(name, 0.0) for name in ("vision", "language_model", "text", "drawing")}
    return {
        "threads": session["threads"],
        "seconds_per_image": round(busy["drawing"] / max(1, work.get("images_drawn", 0)), 4),
        "seconds_per_token": round(busy["language_model"] / work["tokens_written"], 5),
        "share_of_drawing": round(busy["drawing"] / sum(busy.values()), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--judge", type=Path, action="append", default=[], metavar="DIR")
    words = parser.parse_args()
    where = {"device": torch.device("cpu"), "dtype": torch.float32, "work": WorkCounter()}
    judges = {
        folder.name: load_image_text_model(ImageTextModelSettings(path=str(folder), family=Family.huggingface_clip), **where)[0]
        for folder in words.judge
    }
    for run in words.runs:
        print(json.dumps(measure(run, judges), indent=1))


if __name__ == "__main__":
    main()
