"""Runs metrics side by side over several systems. If a metric cannot run, its reason is kept, and the others still run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import partial

from magic_cli.errors import MagicError
from magic_cli.metrics.base import Corpus, Metric, Scores
from magic_cli.metrics.java.process import num_kills
from magic_cli.metrics.java.runtime import kill_all
from magic_cli.terminal.progress import Progress, progress


@dataclass
class Outcome:
    """The results of the metrics."""

    scores: dict[str, list[list[Scores]]] = field(default_factory=dict)
    """For each metric that ran and each corpus, one entry per measure."""
    not_run: dict[str, str] = field(default_factory=dict)
    """Why a metric did not run, and what to do about it."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall seconds of each metric. Metrics run side by side, so the sum is more than the total time."""


def run_metrics(
    metrics: Sequence[Metric], corpora: Sequence[Corpus], tokenize: Callable[[Sequence[Corpus]], list[Corpus]]
) -> tuple[list[Corpus], Outcome]:
    """Score all corpora by all metrics.

    Args:
        metrics: The metrics.
        corpora: The systems' captions.
        tokenize: Fills ``Corpus.tokenized``; called at most once, if a metric needs it.

    Returns:
        The corpora, tokenized if a metric needed it, and the results.

    A metric that fails counts as one that did not run. Ctrl-C stops all metrics, and none of their processes stays alive.
    """
    outcome = Outcome()
    corpora = list(corpora)
    runnable = list(metrics)
    if any(metric.needs_tokens for metric in metrics):
        started = time.perf_counter()
        try:
            corpora = tokenize(corpora)
        except MagicError as reason:
            outcome.not_run |= {metric.name: str(reason) for metric in metrics if metric.needs_tokens}
            runnable = [metric for metric in metrics if not metric.needs_tokens]
        outcome.seconds["ptb_tokenizer"] = round(time.perf_counter() - started, 3)
    lanes = [[metric] for metric in runnable if metric.runs_outside]
    lanes.append([metric for metric in runnable if not metric.runs_outside])
    kills = num_kills()
    with progress(len(runnable), "scoring", "metric", leave=False) as bar, ThreadPoolExecutor(max_workers=len(lanes)) as pool:
        done = partial(_tell_done, bar, runnable, outcome)
        try:
            for future in as_completed([pool.submit(_run_lane, lane, corpora, outcome, kills, done) for lane in lanes]):
                future.result()
        except BaseException:
            kill_all()  # else the pool would wait for the Java programs
            raise
    order = [metric.name for metric in metrics]
    outcome.scores = {name: outcome.scores[name] for name in order if name in outcome.scores}
    return corpora, outcome


def _tell_done(bar: Progress, metrics: Sequence[Metric], outcome: Outcome) -> None:
    """Count a finished metric, and show which are still running."""
    if waiting := [metric.name for metric in metrics if metric.name not in outcome.seconds]:
        bar.note(f"then {', '.join(waiting)}")
    bar.update()


def _run_lane(lane: Sequence[Metric], corpora: Sequence[Corpus], outcome: Outcome, kills: int, done: Callable[[], None]) -> None:
    for metric in lane:
        if num_kills() != kills:  # everything must stop
            return
        started = time.perf_counter()
        try:
            outcome.scores[metric.name] = metric.score(corpora)
        except MagicError as reason:
            outcome.not_run[metric.name] = str(reason)
        outcome.seconds[metric.name] = round(time.perf_counter() - started, 3)
        done()
