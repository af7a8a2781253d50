"""Lets a metric of captions score the answers to steps one by one, and returns the scores by item."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from magic_cli.metrics.answers import clean_text, mean_of_steps
from magic_cli.metrics.base import Corpus, Metric, MetricUnavailable, Scores


class StepWise(Metric):
    """A metric of captions over all steps with a true text. An item sums over its steps, because items are resampled."""

    needs_tokens = False
    needs_references = False

    def __init__(self, metric: Metric, tokenize: Callable[[Sequence[Corpus]], list[Corpus]]) -> None:
        """Store the metric; nothing is scored yet.

        Args:
            metric: A metric that needs tokens.
            tokenize: Fills ``Corpus.tokenized``.
        """
        self._metric, self._tokenize = metric, tokenize
        self.name = metric.name  # type: ignore[misc]  # here a fact of the wrapped metric, elsewhere of the class
        self.measures = metric.measures  # type: ignore[misc]  # as above
        self.runs_outside = metric.runs_outside  # type: ignore[misc]  # as above

    def score(self, corpora: Sequence[Corpus]) -> list[list[Scores]]:
        parted = [_steps(corpus) for corpus in corpora]
        if empty := next((corpus.name for corpus, (steps, _) in zip(corpora, parted, strict=True) if not steps.ids), None):
            raise MetricUnavailable(f"{self.name} compares texts with true ones, and {empty} has none")
        found = self._metric.score(self._tokenize([steps for steps, _ in parted]))
        return [
            [_by_item(one, rows, len(corpus)) for one in scores]
            for corpus, (_, rows), scores in zip(corpora, parted, found, strict=True)
        ]

    def facts(self) -> dict[str, Any]:
        return {**self._metric.facts(), "scored": "steps with a true text"}


def _steps(corpus: Corpus) -> tuple[Corpus, list[int]]:
    """Each step with a true text as a caption with a reference, and the row of its item. Corpora of captions stay as they are."""
    if not corpus.answers:
        return replace(corpus, images=()), list(range(len(corpus)))
    found = [
        (row, number, answer)
        for row, answers in enumerate(corpus.answers)
        for number, answer in enumerate(answers, start=1)
        if clean_text(answer.true_text)
    ]
    steps = Corpus(
        name=corpus.name,
        ids=tuple(f"{corpus.ids[row]}#{number}" for row, number, _ in found),
        captions=tuple(clean_text(answer.text) for _, _, answer in found),
        references=tuple((clean_text(answer.true_text),) for _, _, answer in found),
    )
    return steps, [row for row, _, _ in found]


def _by_item(scores: Scores, rows: Sequence[int], num_items: int) -> Scores:
    """The scores of items, from those of their steps."""
    values: list[list[float]] = [[] for _ in range(num_items)]
    for row, value in zip(rows, scores.per_item, strict=True):
        values[row].append(float(value))
    means = mean_of_steps(scores.measure, values)
    if scores.combine is None or scores.statistics is None:
        return replace(means, overall=scores.overall)
    statistics = np.zeros((num_items, scores.statistics.shape[1]))
    np.add.at(statistics, list(rows), scores.statistics)
    return Scores(scores.measure, scores.overall, means.per_item, statistics, scores.combine)
