"""Repetition and vocabulary figures against plain counting."""

import math
import random

import numpy as np
import pytest

from magic_cli.metrics.repetition import Repetition
from tests.reference.metrics import coco_captions, corpus_of, repetition


@pytest.fixture(scope="module")
def corpus():
    """Texts of several captions, some of them twice; short, repetitive and empty ones."""
    rng = random.Random(0)
    texts = [" ".join(rng.choices(rng.choice(coco_captions()), k=rng.randint(1, 5))) for _ in range(200)]
    texts += ["", "a", "a dog", "a dog runs", "a a a a a a", "the dog the dog the dog", "A dog A dog", "one . one . one ."]
    return corpus_of(texts, [["unused"]] * len(texts))


def values(corpus, **settings):
    return {score.measure.key: score for score in Repetition(**settings).score([corpus])[0]}


@pytest.mark.parametrize("last_ngram", [False, True])
def test_scores_equal_plain_counts_when_texts_are_of_every_kind(corpus, last_ngram):
    scores = values(corpus, last_ngram=last_ngram, rounded=False)
    expected = {n: repetition(corpus.captions, n, last_ngram=last_ngram) for n in (2, 3, 4)}
    for n, rep in expected.items():
        assert scores[f"rep_{n}"].overall == pytest.approx(rep, abs=1e-12)
        assert rep > 0.01
    assert scores["diversity"].overall == pytest.approx(math.prod(1 - rep for rep in expected.values()), abs=1e-12)
    for i, text in enumerate(corpus.captions):
        of_text = scores["rep_3"].per_item[i]
        if len(text.split()) < (3 if last_ngram else 4):
            assert np.isnan(of_text)  # no 3-gram
        else:
            assert of_text == pytest.approx(repetition([text], 3, last_ngram=last_ngram), abs=1e-12)


def test_diversity_comes_from_rounded_percents_when_rounded(corpus):
    percents = [round(100 * repetition(corpus.captions, n, last_ngram=False), 2) for n in (2, 3, 4)]
    expected = math.prod(1 - percent / 100 for percent in percents)
    assert values(corpus)["diversity"].overall == pytest.approx(expected, abs=1e-12)
    assert values(corpus, rounded=False)["diversity"].overall != pytest.approx(expected, abs=1e-9)


def test_vocabulary_figures_equal_counts_when_written_out():
    scores = values(corpus_of(["a dog runs", "a dog", "a dog", "A cat ."], [["unused"]] * 4))
    assert {key: scores[key].overall for key in list(scores)[4:]} == {
        "vocabulary": 6,  # a, dog, runs, A, cat, .
        "distinct_1": 6 / 10,
        "distinct_2": 4 / 6,
        "distinct_captions": 3 / 4,
        "mean_length": 10 / 4,
    }
    assert scores["mean_length"].per_item.tolist() == [3, 2, 2, 3]


def test_resampled_values_equal_scores_of_repeated_texts(corpus):
    counts = np.random.default_rng(0).multinomial(len(corpus), [1 / len(corpus)] * len(corpus), size=4).astype(float)
    for row in counts:
        drawn = [corpus.captions[i] for i in np.repeat(np.arange(len(corpus)), row.astype(int))]
        again = values(corpus_of(drawn, [["unused"]] * len(drawn)))
        for key in ("rep_2", "rep_3", "rep_4", "diversity", "mean_length"):
            assert values(corpus)[key].resample(row[None])[0] == pytest.approx(again[key].overall, abs=1e-12)


def test_figures_are_zero_when_all_texts_are_empty():
    scores = values(corpus_of(["", ""], [["unused"]] * 2))
    assert [score.overall for score in scores.values()] == [0, 0, 0, 1, 0, 0, 0, 0.5, 0]  # diversity 1: nothing is repeated
