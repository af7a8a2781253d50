"""ROUGE-L against pycocoevalcap's own scorer and the plain recursion."""

import random

import numpy as np
import pytest

from magic_cli.errors import SettingsError
from magic_cli.metrics.rouge import RougeL, common_subsequences
from tests.reference.metrics import corpus_of, longest_common_subsequence, make_corpus, stock

SAME = {"rtol": 0, "atol": 1e-12}


def assert_stock(corpus):
    overall, per_item = stock("rouge_l", corpus)
    score = RougeL().score([corpus])[0][0]
    assert score.overall == pytest.approx(overall[0], abs=1e-12)
    np.testing.assert_allclose(score.per_item, per_item[0], **SAME)


@pytest.mark.parametrize("seed", range(20))
def test_scores_equal_stock_when_captions_are_of_every_kind(seed):
    assert_stock(make_corpus(seed))


@pytest.mark.parametrize(
    ("caption", "references"),
    [("", [""]), ("", ["a dog"]), ("a dog", ["", "a"]), ("a dog", ["cat"]), ("a\xa0dog", ["a dog", "a\xa0dog"])],
)
def test_scores_equal_stock_when_corpus_is_one_image(caption, references):
    assert_stock(corpus_of([caption], [references]))


@pytest.mark.parametrize("length", [1, 5, 40, 130])
def test_subsequence_equals_recursion_when_words_repeat(length):
    rng = random.Random(length)
    for _ in range(20):
        caption = rng.choices("abcdef", k=length)
        references = [rng.choices("abcdefgh", k=rng.randint(1, 90)) for _ in range(3)]
        assert common_subsequences(caption, references) == [longest_common_subsequence(caption, other) for other in references]


def test_scores_stay_when_corpora_share_references():
    a, b = make_corpus(1), make_corpus(2)
    shared = corpus_of(b.captions, a.references)
    together = RougeL().score([a, shared])
    for corpus, scores in zip([a, shared], together, strict=True):
        assert RougeL().score([corpus])[0][0].per_item.tolist() == scores[0].per_item.tolist()


def test_recall_alone_counts_when_beta_is_huge():
    corpus = corpus_of(["a dog in the grass"], [["a dog"]])
    assert RougeL(beta=1e6).score([corpus])[0][0].overall == pytest.approx(1.0)
    assert RougeL(beta=1e-6).score([corpus])[0][0].overall == pytest.approx(0.4)


@pytest.mark.parametrize("beta", [0.0, -1.0, float("nan"), float("inf")])
def test_beta_is_refused_when_out_of_range(beta):
    with pytest.raises(SettingsError, match=r"metrics\.rouge_l\.beta must be (greater than 0|at most 1000000), got"):
        RougeL(beta=beta)
