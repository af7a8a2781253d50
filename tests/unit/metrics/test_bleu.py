"""BLEU against pycocoevalcap's own scorer, also for resampled corpora."""

import numpy as np
import pytest

from magic_cli.metrics.bleu import Bleu
from magic_cli.metrics.ngrams import NgramTables
from tests.reference.metrics import corpus_of, make_corpus, stock

SAME = {"rtol": 0, "atol": 1e-12}


def assert_stock(corpus):
    overall, per_item = stock("bleu", corpus)
    scores = Bleu().score([corpus])[0]
    np.testing.assert_allclose([score.overall for score in scores], overall, **SAME)
    np.testing.assert_allclose([score.per_item for score in scores], per_item, **SAME)


@pytest.mark.parametrize("seed", range(20))
def test_scores_equal_stock_when_captions_are_of_every_kind(seed):
    assert_stock(make_corpus(seed))


@pytest.mark.parametrize(
    ("caption", "references"),
    [
        ("a dog runs", ["a dog runs"]),
        ("a dog", ["a dog runs", "dog"]),  # two references equally close: the shorter counts
        ("", ["a dog"]),
        ("a dog", [""]),
        ("", [""]),
        ("a a a a a", ["a a b", "a b a"]),
    ],
)
def test_scores_equal_stock_when_corpus_is_one_image(caption, references):
    assert_stock(corpus_of([caption], [references]))


def test_scores_stay_when_corpora_share_references():
    a, b, c = make_corpus(1), make_corpus(2), make_corpus(3, num_items=30)
    shared = corpus_of(b.captions, a.references)  # other captions of a's images
    part = corpus_of(a.captions[10:] + c.captions, a.references[10:] + c.references)  # some of a's images, and others
    together = Bleu().score([a, shared, part])
    for corpus, scores in zip([a, shared, part], together, strict=True):
        for alone, score in zip(Bleu().score([corpus])[0], scores, strict=True):
            assert alone.overall == score.overall
            assert alone.per_item.tolist() == score.per_item.tolist()


def test_references_are_counted_once_when_corpora_share_them():
    a, b = make_corpus(1), make_corpus(2)
    tables = NgramTables([a.tokenized, corpus_of(b.captions, a.references).tokenized])
    assert len(tables.lengths) == sum(map(len, set(a.references)))


def test_resampled_overall_equals_stock_when_items_are_drawn_repeatedly():
    corpus, rng = make_corpus(4), np.random.default_rng(0)
    counts = rng.multinomial(50, [1 / 50] * 50, size=8).astype(float)
    resampled = [score.resample(counts) for score in Bleu().score([corpus])[0]]
    for row, count in enumerate(counts):
        items = np.repeat(np.arange(50), count.astype(int))
        drawn = corpus_of([corpus.captions[i] for i in items], [corpus.references[i] for i in items])
        np.testing.assert_allclose([values[row] for values in resampled], stock("bleu", drawn)[0], **SAME)


def test_order_of_images_does_not_matter_when_turned_round():
    corpus = make_corpus(5)
    turned = corpus_of(corpus.captions[::-1], corpus.references[::-1])
    for score, other in zip(Bleu().score([corpus])[0], Bleu().score([turned])[0], strict=True):
        assert score.overall == pytest.approx(other.overall, abs=1e-14)
        np.testing.assert_allclose(score.per_item, other.per_item[::-1], **SAME)
