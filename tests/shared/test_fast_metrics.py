"""Published figures from the authors' released files, and stock scores and times on them.

Skipped only where the ``shared`` folder does not lie beside the checkout.
"""

import gzip
import json
import time
from pathlib import Path

import numpy as np
import pytest

from magic_cli.metrics.bleu import Bleu
from magic_cli.metrics.cider import Cider
from magic_cli.metrics.ngrams import tables_of
from magic_cli.metrics.repetition import Repetition
from magic_cli.metrics.rouge import RougeL
from tests.reference.metrics import corpus_of, plain, stock

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
RELEASED = SHARED / "data" / "magic_released"

pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared folder is not beside this checkout")


def read(name):
    with gzip.open(RELEASED / f"{name}.json.gz", "rt", encoding="utf-8") as file:
        return json.load(file)


def captions(name):
    records = read(name)
    return corpus_of([plain(record["prediction"]) for record in records], [map(plain, record["captions"]) for record in records])


def stories(kind):
    name = "magic_k_5_alpha_0.6_beta_0.15_result" if kind == "magic" else "contrastive_k_5_alpha_0.6_result"
    records = read(f"story/{name}")["evaluation_result"]
    if kind == "human":
        return [record["reference_continuation_text"] for record in records]
    return [record["generated_result"]["0"]["generated_continuation_text"] for record in records]


@pytest.mark.parametrize(
    ("kind", "last_ngram", "printed"),
    [
        ("human", False, ["2.21", "0.37", "0.09", "0.9734"]),
        ("contrastive", False, ["2.49", "0.38", "0.09", "0.9705"]),
        ("magic", False, ["2.60", "0.40", "0.10", "0.9691"]),
        ("magic", True, ["2.73", "0.46", "0.12", "0.9671"]),
    ],
)
def test_story_repetition_equals_printed_figures_when_released_texts_are_scored(kind, last_ngram, printed):
    texts = stories(kind)
    assert len(texts) == 1500
    scores = Repetition(last_ngram=last_ngram).score([corpus_of(texts, [["unused"]] * len(texts))])[0][:4]
    figures = [score.overall * score.measure.scale for score in scores]
    assert [*(f"{figure:.2f}" for figure in figures[:3]), f"{figures[3]:.4f}"] == printed


@pytest.mark.parametrize("name", ["flickr30k/magic_result", pytest.param("coco/magic_result", marks=pytest.mark.slow)])
def test_scores_equal_stock_in_a_third_of_its_time_when_a_released_file_is_scored(name):
    corpus = captions(name)
    tables_of.cache_clear()
    ours = theirs = 0.0
    for metric in (Bleu(), RougeL(), Cider()):
        started = time.process_time()
        scores = metric.score([corpus])[0]
        ours += time.process_time() - started
        started = time.process_time()
        overall, per_item = stock(metric.name, corpus)
        theirs += time.process_time() - started
        np.testing.assert_allclose([score.overall for score in scores], overall, rtol=0, atol=1e-12)
        np.testing.assert_allclose([score.per_item for score in scores], per_item, rtol=0, atol=1e-12)
    assert ours < theirs / 3
