"""Bootstrap intervals and the paired test: against exact and independent computations, and calibrated on made data."""

import time
import tracemalloc

import numpy as np
import pytest

from magic_cli.metrics.base import Measure, Scores
from magic_cli.metrics.statistics import Resampler, can_resample
from tests.reference.metrics import exact_p_value

MEASURE = Measure("made", "made", 0.0, 1.0)


def bootstrap(scores, *, samples, seed, confidence):
    """The interval of one measure."""
    return Resampler(len(scores.per_item), samples=samples, seed=seed).intervals([scores], confidence)[0]


def compare(a, b, *, samples, seed, confidence):
    """The comparison of two systems in one measure."""
    return Resampler(len(a.per_item), samples=samples, seed=seed).comparisons([a], [b], confidence)[0]


def mean_scores(per_item):
    """A measure that is the mean of its items."""
    return Scores(MEASURE, float(np.mean(per_item)), np.asarray(per_item, dtype=float))


def combine(sums):
    """A corpus measure that is no mean: a power of a ratio of sums."""
    return (sums[:, 0] / sums[:, 1]) ** 0.25


def ratio_scores(statistics):
    """The corpus measure of items (N, 2)."""
    overall = combine(statistics.sum(axis=0, keepdims=True))[0]
    return Scores(MEASURE, float(overall), combine(statistics), statistics, combine)


def made_items(rng, num_items, *, better=0.0):
    """(N, 2) matches and words, as of a corpus of captions."""
    words = rng.integers(5, 15, size=num_items)
    return np.stack([rng.binomial(words, 0.4 + better), words], axis=1).astype(float)


def test_interval_agrees_with_scipy_when_measure_is_a_mean():
    stats = pytest.importorskip("scipy.stats", reason="scipy comes with the extra `embedded`")
    per_item = np.random.default_rng(0).gamma(2.0, size=300)
    ours = bootstrap(mean_scores(per_item), samples=20000, seed=0, confidence=0.9)
    options = {"n_resamples": 20000, "confidence_level": 0.9, "method": "percentile", "batch": 500}
    theirs = stats.bootstrap((per_item,), np.mean, rng=np.random.default_rng(1), **options).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.008)
    assert ours.high - ours.low > 0.2


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_interval_covers_the_truth_as_often_as_it_says_when_data_are_made(confidence):
    rng, covered = np.random.default_rng(1), 0
    for seed in range(400):
        interval = bootstrap(ratio_scores(made_items(rng, 80)), samples=300, seed=seed, confidence=confidence)
        covered += interval.low <= 0.4**0.25 <= interval.high
    assert covered / 400 == pytest.approx(confidence, abs=0.045)


@pytest.mark.parametrize("kind", ["mean", "ratio"])
def test_p_value_is_the_exact_one_when_all_swaps_can_be_tried(kind):
    rng = np.random.default_rng(2)
    for _ in range(4):
        a, b = made_items(rng, 9, better=0.1), made_items(rng, 9)
        if kind == "mean":
            a, b = a[:, :1], b[:, :1]
            exact = exact_p_value(a, b, np.mean)
            found = compare(mean_scores(a[:, 0]), mean_scores(b[:, 0]), samples=20000, seed=0, confidence=0.95)
        else:
            exact = exact_p_value(a, b, lambda items: combine(items.sum(axis=0, keepdims=True))[0])
            found = compare(ratio_scores(a), ratio_scores(b), samples=20000, seed=0, confidence=0.95)
        assert found.p_value == pytest.approx(exact, abs=0.015)


@pytest.mark.parametrize("kind", ["mean", "ratio"])
def test_p_values_are_uniform_when_systems_do_not_differ(kind):
    rng, p_values = np.random.default_rng(3), []
    for seed in range(400):
        both = made_items(rng, 60), made_items(rng, 60)
        a, b = (mean_scores(items[:, 0] / items[:, 1]) if kind == "mean" else ratio_scores(items) for items in both)
        p_values.append(compare(a, b, samples=200, seed=seed, confidence=0.95).p_value)
    distance = np.abs(np.sort(p_values) - np.arange(1, 401) / 401).max()
    assert distance < 0.0815  # Kolmogorov and Smirnov's bound for 400 values and a level of 1 %
    assert np.mean(np.array(p_values) <= 0.05) == pytest.approx(0.05, abs=0.03)


def test_p_value_is_small_and_interval_excludes_zero_when_one_system_is_better():
    rng = np.random.default_rng(4)
    a, b = ratio_scores(made_items(rng, 500, better=0.1)), ratio_scores(made_items(rng, 500))
    found = compare(a, b, samples=999, seed=0, confidence=0.95)
    assert found.p_value == 1 / 1000
    assert 0 < found.low < found.difference < found.high


def test_pairing_shows_small_differences_when_items_vary_much():
    rng = np.random.default_rng(5)
    hardness = rng.normal(size=200)
    a, b = mean_scores(hardness + 0.05 + 0.1 * rng.normal(size=200)), mean_scores(hardness + 0.1 * rng.normal(size=200))
    assert compare(a, b, samples=999, seed=0, confidence=0.95).p_value < 0.01
    alone = bootstrap(a, samples=999, seed=0, confidence=0.95)
    assert alone.low < b.overall < alone.high  # each system's own interval would not tell


def test_p_value_is_one_when_systems_are_the_same():
    items = made_items(np.random.default_rng(6), 50)
    found = compare(ratio_scores(items), ratio_scores(items.copy()), samples=100, seed=0, confidence=0.95)
    assert (found.difference, found.low, found.high, found.p_value) == (0, 0, 0, 1)


def test_comparison_turns_round_when_systems_change_places():
    rng = np.random.default_rng(7)
    a, b = ratio_scores(made_items(rng, 80, better=0.02)), ratio_scores(made_items(rng, 80))
    one, other = (compare(*pair, samples=500, seed=3, confidence=0.9) for pair in ((a, b), (b, a)))
    assert one.p_value == other.p_value
    assert (one.difference, one.low, one.high) == pytest.approx((-other.difference, -other.high, -other.low))


def test_numbers_repeat_when_seed_does():
    rng = np.random.default_rng(8)
    a, b = ratio_scores(made_items(rng, 40)), ratio_scores(made_items(rng, 40))
    options = {"samples": 200, "confidence": 0.95}
    assert compare(a, b, seed=1, **options) == compare(a, b, seed=1, **options)
    assert compare(a, b, seed=1, **options) != compare(a, b, seed=2, **options)
    assert bootstrap(a, seed=1, **options) == Resampler(40, samples=200, seed=1).intervals([b, a], 0.95)[1]


def test_measure_is_left_out_when_items_have_no_values():
    rng = np.random.default_rng(9)
    sound, whole = mean_scores(rng.random(30)), Scores(MEASURE, 17.0, np.full(30, np.nan))
    resampler = Resampler(30, samples=50, seed=0)
    assert [can_resample(one) for one in (sound, whole)] == [True, False]
    assert [one is None for one in resampler.intervals([whole, sound, whole], 0.95)] == [True, False, True]
    assert [one is None for one in resampler.comparisons([whole, sound], [whole, sound], 0.95)] == [True, False]


def test_different_items_or_measures_are_refused():
    a, b = mean_scores(np.ones(3)), mean_scores(np.ones(4))
    with pytest.raises(ValueError, match="made has 4 items, expected 3"):
        compare(a, b, samples=10, seed=0, confidence=0.95)
    other = Scores(Measure("other", "other", 0.0, 1.0), 1.0, np.ones(3))
    with pytest.raises(ValueError, match="not the same measures"):
        compare(a, other, samples=10, seed=0, confidence=0.95)


def test_memory_and_time_stay_small_when_items_and_samples_are_many():
    rng = np.random.default_rng(10)
    a, b = ([ratio_scores(made_items(rng, 5000)) for _ in range(10)] for _ in range(2))
    resampler = Resampler(5000, samples=1000, seed=0)
    tracemalloc.start()
    try:
        started = time.process_time()
        resampler.comparisons(a, b, 0.95)
        assert time.process_time() - started < 20  # about 1 on an idle machine
        assert tracemalloc.get_traced_memory()[1] < 60e6  # all counts at once would take 40 MB, drawing them 120
    finally:
        tracemalloc.stop()
