"""Metrics of answers as plainly as they can be written, and made-up answers to try them on."""

import math
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from magic_cli.data.answers import Answer
from magic_cli.metrics.base import Corpus


def corpus_of_answers(*items: Sequence[Answer], name="made") -> Corpus:
    ids = tuple(f"item-{i}" for i in range(len(items)))
    return Corpus(
        name,
        ids,
        tuple(" ".join(answer.text for answer in item) for item in items),
        ((),) * len(items),
        answers=tuple(map(tuple, items)),
    )


def sentence_bleu(reference: Sequence[str], tokens: Sequence[str], order: int) -> float:
    """Papineni's formula, n-gram by n-gram: each n-gram of the reference is used up once."""
    product = 1.0
    for n in range(1, order + 1):
        left = [tuple(reference[i : i + n]) for i in range(len(reference) - n + 1)]
        mine, common = [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)], 0
        for ngram in mine:
            if ngram in left:
                left.remove(ngram)
                common += 1
        product *= common / max(1, len(mine))
    brevity = 1.0 if len(tokens) >= len(reference) else math.exp(1 - len(reference) / len(tokens))
    return brevity * product ** (1 / order)


def rouge_f(text: str, reference: str) -> float:
    """The package's rule, recursively: of two ways to go on, the one that keeps the reference's word is taken unless it is shorter."""

    def longest(a: tuple[str, ...], b: tuple[str, ...]) -> tuple[str, ...]:
        if not a or not b:
            return ()
        if a[-1] == b[-1]:
            return (*longest(a[:-1], b[:-1]), a[-1])
        without_mine, without_other = longest(a[:-1], b), longest(a, b[:-1])
        return without_mine if len(without_mine) > len(without_other) else without_other

    sides = [[tuple(part.split()) or ("",) for part in side.split(".") if part] for side in (text, reference)]
    common = set()
    for true in sides[1]:
        for written in sides[0]:
            common |= set(longest(true, written))
    precision, recall = (len(common) / len({word for part in side for word in part}) for side in sides)
    return 2 * precision * recall / (precision + recall + 1e-8)


def frechet_distance(true: np.ndarray, drawn: np.ndarray) -> float:
    """By numpy's covariances and eigenvalues, as the formula stands."""
    first, second = np.cov(true, rowvar=False), np.cov(drawn, rowvar=False)
    roots = np.sqrt(np.linalg.eigvals(first @ second).astype(complex)).real.sum()
    return float(((true.mean(axis=0) - drawn.mean(axis=0)) ** 2).sum() + np.trace(first) + np.trace(second) - 2 * roots)


def inception_score(logits: Sequence[Sequence[float]], splits: int) -> float:
    """Image by image and class by class; the order is the given one."""
    probabilities = []
    for row in logits:
        total = sum(math.exp(value) for value in row)
        probabilities.append([math.exp(value) / total for value in row])
    size = math.ceil(len(logits) / splits)
    scores = []
    for start in range(0, len(logits), size):
        part = probabilities[start : start + size]
        mean = [sum(row[c] for row in part) / len(part) for c in range(len(part[0]))]
        divergence = sum(p * (math.log(p) - math.log(m)) for row in part for p, m in zip(row, mean, strict=True)) / len(part)
        scores.append(math.exp(divergence))
    return sum(scores) / len(scores)


def mm_relevance_minigpt5(dialogues: Sequence[Sequence[Answer]], cosine) -> float:
    """The released code's bookkeeping: -1 marks what was missed, -2 what was made up; ``cosine`` of two elements."""
    scores = []
    for dialogue in dialogues:
        marks: list[float | str] = []
        for written, true in [(a.text, a.true_text) for a in dialogue] + [(a.image, a.true_image) for a in dialogue]:
            if written and true:
                marks.append(cosine(written, true))
            elif true:
                marks.append("missed")
            elif written:
                marks.append("made up")
        known = [mark for mark in marks if not isinstance(mark, str)]
        if not known or sum(known) == 0:
            scores.append(0.0)
            continue
        precision = sum(known) / len([mark for mark in marks if mark != "missed"])
        recall = sum(known) / len([mark for mark in marks if mark != "made up"])
        scores.append(2 * precision * recall / (precision + recall))
    return sum(scores) / len(scores)


def made_dialogues(seed: int, images: Sequence[Path]) -> list[list[Answer]]:
    """Answers of every kind: with and without text and image, on either side."""
    rng = random.Random(seed)
    texts = ["a red disc", "two dogs", "stripes", "thanks sam", "the sky is blue over the sea", "so nice"]

    def maybe(values):
        return rng.choice(values) if rng.random() < 0.6 else None

    return [
        [
            Answer(text=maybe(texts) or "", image=maybe(images), true_text=maybe(texts), true_image=maybe(images))
            for _ in range(rng.randint(1, 4))
        ]
        for _ in range(6)
    ]
