"""CIDEr-D against pycocoevalcap's own scorer."""

import numpy as np
import pytest
from pycocoevalcap.cider.cider import Cider as StockCider

from magic_cli.errors import SettingsError
from magic_cli.metrics.cider import Cider
from tests.reference.metrics import corpus_of, make_corpus, stock

SAME = {"rtol": 0, "atol": 1e-12}


def assert_stock(corpus):
    overall, per_item = stock("cider", corpus)
    score = Cider().score([corpus])[0][0]
    assert score.overall == pytest.approx(overall[0], abs=1e-12)
    np.testing.assert_allclose(score.per_item, per_item[0], **SAME)


@pytest.mark.parametrize("seed", range(20))
def test_scores_equal_stock_when_captions_are_of_every_kind(seed):
    assert_stock(make_corpus(seed))


@pytest.mark.parametrize("num_items", [1, 2, 3])
def test_scores_equal_stock_when_corpus_is_tiny(num_items):
    for seed in range(20):  # n-grams of all images have an idf of 0, which must be exactly 0
        assert_stock(make_corpus(seed, num_items=num_items))


def test_score_is_zero_when_corpus_is_one_image():
    assert Cider().score([corpus_of(["a dog runs"], [["a dog runs", "a dog"]])])[0][0].overall == 0


def test_score_is_zero_when_all_references_are_empty():
    assert Cider().score([corpus_of(["a dog", ""], [[""], ["", ""]])])[0][0].per_item.tolist() == [0, 0]


def test_score_is_ten_when_captions_are_the_only_references():
    captions = ["a dog runs over grass", "two men play tennis outside"]
    corpus = corpus_of(captions, [[caption] for caption in captions])
    assert Cider().score([corpus])[0][0].per_item == pytest.approx([10, 10])


def test_idf_is_each_corpus_own_when_scored_together():
    a, b, c = make_corpus(1), make_corpus(2), make_corpus(3, num_items=30)
    shared = corpus_of(b.captions, a.references, name="shared")
    part = corpus_of(a.captions[10:] + c.captions, a.references[10:] + c.references, name="part")
    twice = corpus_of(a.captions * 2, a.references * 2, name="twice")  # images with the same references count each
    corpora = [a, shared, part, twice]
    for corpus, scores in zip(corpora, Cider().score(corpora), strict=True):
        np.testing.assert_allclose(scores[0].per_item, stock("cider", corpus)[1][0], **SAME)


def test_bootstrap_keeps_the_full_idf_when_resampled():
    score = Cider().score([make_corpus(4)])[0][0]
    counts = np.zeros((1, 50))
    counts[0, [3, 7]] = [20, 30]
    assert score.resample(counts)[0] == pytest.approx((20 * score.per_item[3] + 30 * score.per_item[7]) / 50)


def test_scores_equal_stock_when_sigma_is_set():
    corpus = make_corpus(6)
    references = {i: list(texts) for i, texts in enumerate(corpus.references)}
    per_item = StockCider(sigma=2.0).compute_score(references, {i: [text] for i, text in enumerate(corpus.captions)})[1]
    np.testing.assert_allclose(Cider(sigma=2.0).score([corpus])[0][0].per_item, per_item, **SAME)


@pytest.mark.parametrize("sigma", [0.0, -6.0, float("nan"), float("inf")])
def test_sigma_is_refused_when_out_of_range(sigma):
    with pytest.raises(SettingsError, match=r"metrics\.cider\.sigma must be (greater than 0|at most 1000000), got"):
        Cider(sigma=sigma)


def test_metric_holds_its_settings_only_when_it_has_scored():
    metric, facts = Cider(), Cider().facts()
    metric.score([make_corpus(5)])
    assert vars(metric) == {"sigma": 6.0} and metric.facts() == facts
