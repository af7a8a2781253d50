"""Means, intervals, wins and tests of a study, against plain loops over the answers."""

import numpy as np
import pytest

from magic_cli.evaluation.settings import BootstrapSettings
from magic_cli.human_eval.answers import Ratings
from magic_cli.human_eval.aspects import STORIES
from magic_cli.human_eval.scoring import score
from magic_cli.metrics.statistics import holm
from magic_cli.reports.human_eval import human_eval_tables

pytestmark = pytest.mark.filterwarnings("error")  # such as the mean of no answers

BOOTSTRAP = BootstrapSettings(samples=2000)


def ratings(scores, systems=("a", "b")):
    scores = np.array(scores, dtype=float)
    items = tuple(f"id{i}" for i in range(scores.shape[1]))
    return Ratings(systems, items, tuple(range(1, len(scores) + 1)), scores, num_open=0)


def random_scores(seed, shape=(3, 12, 2, 4), missing=0.0):
    rng = np.random.default_rng(seed)
    scores = rng.integers(1, 6, size=shape).astype(float)
    scores[rng.random(shape) < missing] = np.nan
    return scores


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_means_and_wins_equal_plain_loops(missing):
    scores = random_scores(1, missing=missing)
    document = score(ratings(scores), BOOTSTRAP)
    for s, name in enumerate("ab"):
        titles = []
        for n in range(12):
            given = [scores[r, n, s, 1] for r in range(3) if not np.isnan(scores[r, n, s, 1])]
            titles += [sum(given) / len(given)] if given else []
        found = document["systems"][name]["fluency"]
        assert found["mean"] == pytest.approx(sum(titles) / len(titles)) and found["items"] == len(titles)
        assert found["low"] < found["mean"] < found["high"]
    judged = [(scores[r, n, 0, 1], scores[r, n, 1, 1]) for r in range(3) for n in range(12)]
    judged = [(a, b) for a, b in judged if not np.isnan(a + b)]
    pair = next(pair for pair in document["pairs"] if pair["aspect"] == "fluency")
    assert pair["judged"] == len(judged) and pair["wins"] == sum(a > b for a, b in judged)
    assert pair["losses"] == sum(a < b for a, b in judged) and pair["ties"] == sum(a == b for a, b in judged)


def test_interval_is_close_to_that_of_the_normal_distribution():
    scores = random_scores(2, shape=(1, 200, 2, 4))
    found = score(ratings(scores), BOOTSTRAP)["systems"]["a"]["relevance"]
    half = 1.96 * scores[0, :, 0, 0].std(ddof=1) / 200**0.5
    assert found["low"] == pytest.approx(found["mean"] - half, abs=0.05)
    assert found["high"] == pytest.approx(found["mean"] + half, abs=0.05)


def test_better_system_is_significantly_better_and_an_equal_one_is_not():
    rng = np.random.default_rng(0)
    equal = rng.integers(2, 5, size=(3, 30, 1, 4)).astype(float)
    document = score(ratings(np.concatenate([equal, equal, equal + 1], axis=2), ("a", "b", "c")), BOOTSTRAP)
    pairs = {(pair["first"], pair["second"]): pair for pair in document["pairs"] if pair["aspect"] == "fluency"}
    assert pairs["a", "b"]["p_value"] == pairs["a", "b"]["p_holm"] == 1 and pairs["a", "b"]["ties"] == 90
    worse = pairs["b", "c"]
    assert worse["difference"] == pytest.approx(-1) and worse["high"] < 0 and worse["losses"] == 90
    assert worse["p_value"] == pytest.approx(1 / 2001) and worse["p_holm"] == pytest.approx(3 / 2001)


def test_aspect_that_nobody_was_asked_about_is_left_out():
    scores = random_scores(3)
    scores[..., 3] = np.nan
    document = score(ratings(scores), BOOTSTRAP)
    assert list(document["systems"]["a"]) == list(document["agreement"]) == ["relevance", "fluency", "informativeness"]


def test_one_title_has_a_mean_but_no_interval_and_no_test():
    document = score(ratings(random_scores(4, shape=(2, 1, 2, 4))), BOOTSTRAP)
    found, pair = document["systems"]["a"]["relevance"], document["pairs"][0]
    assert found["mean"] is not None and found["low"] is None is pair["p_value"] is pair["p_holm"]


def test_aspect_in_which_a_system_has_no_answers_is_left_out_and_printed_as_unknown():
    scores = random_scores(5)
    scores[:, :, 1, 0] = np.nan
    document = score(ratings(scores), BOOTSTRAP)
    assert list(document["systems"]["a"])[0] == "relevance" and list(document["systems"]["b"])[0] == "fluency"
    assert document["pairs"][0]["judged"] == 0 and document["pairs"][0]["difference"] is None
    printed = document | {"forms": 3, "bootstrap": {"samples": 2000, "confidence": 0.95}}
    means, _, pairs = human_eval_tables(printed, {aspect.key: aspect.label for aspect in STORIES.aspects})
    assert [cell.text for cell in means.rows[2].cells][:2] == ["b", ""]
    assert [cell.text for cell in pairs.rows[0].cells] == ["a - b", *[""] * 7]


def test_agreement_is_of_stories_that_two_annotators_judged():
    scores = random_scores(6, shape=(2, 10, 2, 4))
    scores[1] = scores[0]
    scores[1, 0, 0, 0] = np.nan
    agreement = score(ratings(scores), BOOTSTRAP)["agreement"]
    assert agreement["relevance"] == {"alpha_ordinal": 1, "alpha_interval": 1, "stories": 19}


def test_holm_multiplies_by_the_number_left_and_never_falls():
    assert holm([0.01, 0.02, 0.03, 0.9]) == pytest.approx([0.04, 0.06, 0.06, 0.9])
    assert holm([0.5, 0.6]) == [1.0, 1.0] and holm([None]) == [None]
