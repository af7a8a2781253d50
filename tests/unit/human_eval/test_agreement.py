"""Krippendorff's alpha against the worked example of its author, and against its definition."""

import numpy as np
import pytest

from magic_cli.human_eval.agreement import krippendorff_alpha
from tests.reference import agreement

# Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", part C: four observers, twelve units, scores missing
WORKED_EXAMPLE = ["123321412...", "1233224125.3", ".3332342251.", "12332441251."]


def units_of(rows: list[str]) -> list[list[float | None]]:
    return [[None if score == "." else float(score) for score in column] for column in zip(*rows, strict=True)]


def as_array(units) -> np.ndarray:
    return np.array([[np.nan if score is None else score for score in unit] for unit in units])


def test_alpha_is_the_published_one_of_the_worked_example():
    units = units_of(WORKED_EXAMPLE)
    assert sum(score is not None for unit in units for score in unit) == 41
    assert agreement.krippendorff_alpha(units, "nominal") == pytest.approx(0.743, abs=5e-4)
    for alpha in (krippendorff_alpha(as_array(units), ordinal=True), agreement.krippendorff_alpha(units, "ordinal")):
        assert alpha == pytest.approx(0.815, abs=5e-4)
    for alpha in (krippendorff_alpha(as_array(units), ordinal=False), agreement.krippendorff_alpha(units, "interval")):
        assert alpha == pytest.approx(0.849, abs=5e-4)


def test_alpha_by_hand():
    # pairs within units: (1,1), (1,2), each in both orders: observed = 2/4 at distance 1
    # pairs of 1,1,1,2: 6 of 12 at distance 1: expected = 1/2
    assert krippendorff_alpha(np.array([[1.0, 1.0], [1.0, 2.0]]), ordinal=False) == pytest.approx(1 - (2 / 4) / (6 / 12))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("ordinal", [True, False])
def test_alpha_equals_its_definition_on_random_scores(seed, ordinal):
    rng = np.random.default_rng(seed)
    ratings = rng.integers(1, 6, size=(15, 4)).astype(float)
    ratings[:, 1] = np.where(rng.random(15) < 0.7, ratings[:, 0], ratings[:, 1])
    ratings[rng.random(ratings.shape) < 0.2] = np.nan
    units = [[None if np.isnan(score) else score for score in unit] for unit in ratings]
    expected = agreement.krippendorff_alpha(units, "ordinal" if ordinal else "interval")
    assert krippendorff_alpha(ratings, ordinal=ordinal) == pytest.approx(expected, abs=1e-12)


def test_complete_agreement_is_1():
    ratings = np.array([[1.0, 1.0, np.nan], [4.0, 4.0, 4.0], [2.0, np.nan, 2.0]])
    assert krippendorff_alpha(ratings, ordinal=True) == krippendorff_alpha(ratings, ordinal=False) == 1


@pytest.mark.parametrize("ratings", [[[3.0, 3.0], [3.0, 3.0]], [[1.0, np.nan], [np.nan, 2.0]], [[np.nan, np.nan]]])
def test_alpha_is_undefined_without_variation_or_pairs(ratings):
    assert krippendorff_alpha(np.array(ratings), ordinal=True) is None
