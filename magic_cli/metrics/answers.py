"""Shared by the metrics of ``magic interleave``, which compare the answers to an item's steps with the true ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from magic_cli.data.answers import Answer
from magic_cli.data.images import StoredImage
from magic_cli.metrics.base import Corpus, Measure, Metric, MetricUnavailable, Scores
from magic_cli.metrics.text import says_something


class AnswerMetric(Metric):
    """Base of the metrics that need answers beside true ones."""

    needs_references: ClassVar[bool] = False

    def require(self, corpora: Sequence[Corpus]) -> None:
        for corpus in corpora:
            if not corpus.answers:
                raise MetricUnavailable(
                    f"{self.name} compares the answers of `magic interleave` with the true ones, and {corpus.name} holds captions or stories"
                )
        super().require(corpora)

    def nothing(self, corpus: Corpus, what: str) -> MetricUnavailable:
        """The message if no step has anything to compare."""
        return MetricUnavailable(f"{self.name} compares {what}, and no step of {corpus.name} has them")


class AnswerTextMetric(AnswerMetric):
    """Base of the metrics that compare the text of each step with the true one; an empty text scores 0.

    Steps are averaged over each item (a dialogue, a story), then items, as the released code of MiniGPT-5 does.
    """

    def score(self, corpora: Sequence[Corpus]) -> list[list[Scores]]:
        self.require(corpora)
        results = []
        for corpus in corpora:
            pairs = [(row, *pair) for row, answers in enumerate(corpus.answers) for pair in _texts(answers)]
            if not pairs:
                raise self.nothing(corpus, "texts with true ones")
            written = [(text, true) for _, text, true in pairs if text]
            scores = iter(self.score_texts(written) if written else [])
            values: list[list[Sequence[float]]] = [[] for _ in corpus.answers]
            for row, text, _ in pairs:
                values[row].append(next(scores) if text else [0.0] * len(self.measures))
            results.append(
                [
                    mean_of_items(measure, [[step[i] for step in steps] for steps in values])
                    for i, measure in enumerate(self.measures)
                ]
            )
        return results

    def score_texts(self, pairs: Sequence[tuple[str, str]]) -> Sequence[Sequence[float]]:
        """One value a measure for each pair of text and true text; neither is empty."""
        raise NotImplementedError(f"{type(self).__name__}.score_texts")


def clean_text(text: str | None) -> str:
    """A text of an answer as it is compared: without end marks, and empty if it is nothing but punctuation.

    >>> clean_text("It is a beauty :star: ###"), clean_text("...")
    ('It is a beauty :star:', '')
    """
    cleaned = (text or "").replace("###", "").strip()
    return cleaned if says_something(cleaned) else ""


def _texts(answers: Sequence[Answer]) -> Iterator[tuple[str, str]]:
    """Text and true text of the steps that have a true one."""
    for answer in answers:
        if true := clean_text(answer.true_text):
            yield clean_text(answer.text), true


def image_pairs(corpus: Corpus) -> list[tuple[int, Path, Path | StoredImage]]:
    """For each step with both images: the row of its item, the drawn image, the true image."""
    return [
        (row, answer.image, answer.true_image)
        for row, answers in enumerate(corpus.answers)
        for answer in answers
        if answer.image and answer.true_image
    ]


def by_item(num_items: int, rows: Sequence[int], values: Iterable[float]) -> list[list[float]]:
    """Values of each item, from those of steps and the items' rows."""
    grouped: list[list[float]] = [[] for _ in range(num_items)]
    for row, value in zip(rows, values, strict=True):
        grouped[row].append(float(value))
    return grouped


def mean_of_items(measure: Measure, values: Sequence[Sequence[float]]) -> Scores:
    """The mean over items of each one's mean over its steps; an item without steps has no value and does not count."""
    means = np.array([np.mean(steps) if len(steps) else np.nan for steps in values])
    counts = ~np.isnan(means)
    return _scores(measure, means, np.column_stack([np.where(counts, means, 0.0), counts]))


def mean_of_steps(measure: Measure, values: Sequence[Sequence[float]]) -> Scores:
    """The mean over all steps of all items."""
    means = np.array([np.mean(steps) if len(steps) else np.nan for steps in values])
    return _scores(measure, means, np.array([[np.sum(steps), len(steps)] for steps in values]))


def _scores(measure: Measure, per_item: np.ndarray, statistics: np.ndarray) -> Scores:
    statistics = statistics.astype(np.float64)
    return Scores(measure, float(_ratio(statistics.sum(axis=0, keepdims=True))[0]), per_item, statistics, _ratio)


def _ratio(sums: np.ndarray) -> np.ndarray:
    return np.divide(sums[:, 0], sums[:, 1], out=np.zeros(len(sums)), where=sums[:, 1] > 0)
