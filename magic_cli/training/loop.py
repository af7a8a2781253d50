"""The training loop: updates, measurements and checkpoints, from the last checkpoint to the end."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from magic_cli.errors import MagicError
from magic_cli.terminal.progress import Progress
from magic_cli.terminal.progress import progress as show
from magic_cli.terminal.wording import counted, duration, speed
from magic_cli.training.checkpoints import Checkpoints
from magic_cli.training.folder import TrainingFolder
from magic_cli.training.settings import Selection
from magic_cli.training.task import Task, TrainingSettings
from magic_cli.training.weight_updates import Updater

if TYPE_CHECKING:
    from accelerate import Accelerator


class Loop:
    """The loop of one run.

    Everything that a later step depends on is in a checkpoint, or follows from the seed and the number of the step. So a killed
    run ends with the same bytes as an uninterrupted one.

    Args:
        settings: Settings of the command.
        folder: The run folder; None in processes other than the first, which write nothing.
        updater: The task and its optimizer.
    """

    def __init__(self, settings: TrainingSettings, folder: TrainingFolder | None, updater: Updater) -> None:
        self.settings, self.folder, self.updater, self.task = settings, folder, updater, updater.task
        self.accelerator: Accelerator = updater.accelerator
        nothing = [0] * len(self.task.weights)
        self.progress: dict[str, Any] = {
            "step": 0, "sums": [0.0 for _ in nothing], "counts": nothing, "all_tokens": 0, "all_cells": 0, "seconds": 0.0, "best": None, "before": None,
        }  # fmt: skip

    def run(self, checkpoints: Checkpoints) -> None:
        """Do the rest of the run."""
        self._resume(checkpoints)
        progress, run = self.progress, self.settings.run
        began, seconds_before, tokens_before = time.monotonic(), progress["seconds"], progress["all_tokens"]
        is_first = self.folder is not None
        with show(self.updater.total, "training", "step", done=progress["step"]) if is_first else Progress() as bar:
            while progress["step"] < self.updater.total:
                line = self._update()
                bar.update()
                step, is_last = progress["step"], progress["step"] == self.updater.total
                progress["seconds"] = seconds_before + time.monotonic() - began
                if line is not None:
                    speed = (progress["all_tokens"] - tokens_before) / (progress["seconds"] - seconds_before)
                    bar.note(f"{self.task.note(line)}, {speed:.0f} tokens/s")
                if step % self.settings.validate.every == 0 or is_last:
                    self._measure(checkpoints, is_last)
                if (step % run.checkpoint_every == 0 or is_last) and self.folder is not None:
                    self._save(checkpoints, self.folder)

    def _resume(self, checkpoints: Checkpoints) -> None:
        saved = checkpoints.load_newest()
        if saved is not None:
            self.progress = saved.pop("progress")
            self.updater.load(saved, checkpoints.newest)
        if self.folder is not None:
            self.folder.cut_metrics(saved["metrics_bytes"] if saved else 0)
            if saved is None:
                self.progress["before"] = self.task.measure()
                if self.progress["before"]:
                    self._note({"step": 0, "validation": self.progress["before"]})
        self.accelerator.wait_for_everyone()

    def _save(self, checkpoints: Checkpoints, folder: TrainingFolder) -> None:
        state = self.updater.state() | {"progress": self.progress, "metrics_bytes": folder.metrics_bytes}
        checkpoints.save(self.progress["step"], state)

    def _update(self) -> dict[str, Any] | None:
        """Do one update; returns a line for metrics.jsonl if one is due."""
        progress = self.progress
        batches = self.task.micro_batches(progress["step"])
        counts, sizes = ([of(batch) for batch in batches] for of in (self.task.counts, self.task.size))
        sums, rate = self.updater.update(progress["step"], batches)
        progress["step"] += 1
        progress["sums"] = [before + new for before, new in zip(progress["sums"], sums.tolist(), strict=True)]
        progress["counts"] = [before + sum(new) for before, *new in zip(progress["counts"], *counts, strict=True)]
        progress["all_tokens"] += sum(tokens for tokens, _ in sizes)
        progress["all_cells"] += sum(cells for _, cells in sizes)
        if progress["step"] % self.settings.run.log_every and progress["step"] < self.updater.total:
            return None
        return self._log(rate)

    def _log(self, rate: float) -> dict[str, Any]:
        progress = self.progress
        line = {"step": progress["step"], **self.task.line(progress["sums"], progress["counts"])}
        _check_finite(line["loss"], progress["step"])
        line |= {"learning_rate": rate, "tokens": progress["all_tokens"]}
        self._note(line)
        progress |= {"sums": [0.0] * len(self.task.weights), "counts": [0] * len(self.task.weights)}
        return line

    def _note(self, line: dict[str, Any]) -> None:
        if self.folder is not None:
            self.folder.add_metrics(line)
            self.accelerator.log(_flat(line), step=line["step"])

    def _measure(self, checkpoints: Checkpoints, is_last: bool) -> None:
        """Measure the model, and store it if it is the best so far."""
        if self.folder is not None:
            found = self.task.measure()
            if found:
                _check_finite(found["loss"], self.progress["step"])
                self._note({"step": self.progress["step"], "validation": found})
            best = self.progress["best"]
            chosen = (
                is_last if self.settings.validate.select_on is Selection.last else best is None or found["loss"] < best["loss"]
            )
            if chosen:
                self.progress["best"] = {"step": self.progress["step"], **found}
                checkpoints.save_best({"model": self.task.state(), "best": self.progress["best"]})
        self.accelerator.wait_for_everyone()


def _check_finite(loss: float, step: int) -> None:
    if not math.isfinite(loss):
        raise MagicError(f"the loss is NaN or infinite at step {step}; lower optimizer.lr, or set optimizer.clip_norm")


def train(
    task: Task, settings: TrainingSettings, accelerator: Accelerator, folder: TrainingFolder, *, name: str
) -> tuple[dict[str, Any], dict[str, float]] | None:
    """Do the rest of a run; afterwards the task has its best weights.

    Args:
        task: The task.
        settings: Settings of the command.
        accelerator: The accelerator of this process.
        folder: The run folder.
        name: The name of the project for trackers.

    Returns:
        ``Loop.progress`` and the best measurement; None in processes other than the first.
    """
    if settings.run.trackers:
        accelerator.init_trackers(name, config={"settings": str(folder.identity)})
    is_first, checkpoints = accelerator.is_main_process, Checkpoints(folder.path / "checkpoints", settings.run.keep)
    updater = Updater(task, settings, accelerator, total_steps(settings, task.num_samples))
    loop = Loop(settings, folder if is_first else None, updater)
    loop.run(checkpoints)
    if settings.run.trackers:
        accelerator.end_training()
    if not is_first:
        return None
    best = checkpoints.load_best()
    task.take(best["model"], checkpoints.best)
    return loop.progress, best["best"]


def tell_spent(report: Mapping[str, Any], seconds: float) -> None:
    """Print on stderr the time of a run, over all its starts.

    Args:
        report: The report of the run.
        seconds: Seconds of training.
    """
    steps, padding = report["steps"], report["padding"]
    spent = f"{counted(steps, 'step')} in {duration(seconds)}: {speed(steps, seconds, 'step')}, {padding:.1%} padding"
    print(f"magic: {spent}", file=sys.stderr)


def total_steps(settings: TrainingSettings, num_samples: int) -> int:
    """The number of updates in the whole run."""
    if settings.optimizer.steps is not None:
        return settings.optimizer.steps
    per_update = settings.run.batch_size * settings.run.accumulation
    return max(1, math.ceil(settings.optimizer.epochs * num_samples / per_update))


def _flat(line: dict[str, Any]) -> dict[str, float]:
    """A line of metrics in the form for trackers."""
    measured = {f"validation_{name}": value for name, value in line.get("validation", {}).items()}
    return {name: value for name, value in line.items() if name not in ("step", "validation")} | measured
