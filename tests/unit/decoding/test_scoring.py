"""The arithmetic of one step, on values small enough to check by hand."""

import math

import pytest
import torch
from transformers import TopKLogitsWarper, TopPLogitsWarper, TypicalLogitsWarper

from magic_cli.decoding import scoring
from magic_cli.decoding.shortcuts.laziness import can_win
from tests.reference import filters

LOGITS = torch.tensor([[2.0, 1.0, 0.0, -1.0], [0.0, 0.0, 3.0, 0.0]])


@pytest.fixture
def random_logits():
    return 3 * torch.randn(40, 50, generator=torch.Generator().manual_seed(0))


def kept(restricted: torch.Tensor) -> list[set[int]]:
    return [set(row.isfinite().nonzero().flatten().tolist()) for row in restricted]


def test_confidence_covers_whole_vocabulary_when_candidates_are_few():
    logits = torch.log(torch.tensor([[0.1, 0.5, 0.15, 0.25]]))
    ids, confidence, close = scoring.top_candidates(logits, 2)
    assert ids.tolist() == [[1, 3]] and close.tolist() == [False]
    assert confidence[0].tolist() == pytest.approx([0.5, 0.25])


def test_candidates_are_close_when_rounding_may_choose_the_last():
    logits = torch.tensor(
        [[3.0, 2.0, 2.0 - 5e-5, 0.0], [3.0, 2.0, 1.9998, 0.0], [1.0, 1.0, 1.0, 1.0], [-500.0, -501.0, -501.0004, -600.0]]
    )
    assert [scoring.top_candidates(logits, k)[2].tolist() for k in (1, 2, 4)] == [
        [False, False, True, False],
        [True, False, True, True],  # large logits are rounded more coarsely
        [False, False, False, False],  # all tokens are candidates
    ]


def test_scores_are_close_when_rounding_may_choose_the_best():
    scores = torch.tensor([[0.5, 0.5 - 1e-5, 0.1], [0.5, 0.4999, 0.1], [0.5, -torch.inf, -torch.inf]])
    assert scoring.is_close(scores, beta=2.0).tolist() == [True, False, False]
    assert scoring.is_close(scores, beta=20.0).tolist() == [True, True, False]
    assert scoring.is_close(scores[:, :1], beta=2.0).tolist() == [False, False, False]


def test_penalty_is_largest_cosine_when_history_has_several_tokens():
    candidates = torch.tensor([[[3.0, 4.0], [0.0, -2.0]]])
    history = torch.tensor([[[1.0, 0.0], [0.0, 5.0]]])
    penalty = scoring.degeneration_penalty(candidates, history, torch.tensor([[True, True]]))
    assert penalty[0].tolist() == pytest.approx([0.8, 0.0])


def test_penalty_ignores_padding_when_rows_are_ragged():
    candidates = torch.tensor([[[0.0, -1.0]]])
    history = torch.tensor([[[0.0, -1.0], [1.0, 1.0]]])  # the first would be a perfect repeat, but is padding
    penalty = scoring.degeneration_penalty(candidates, history, torch.tensor([[False, True]]))
    assert penalty.item() == pytest.approx(-math.sqrt(0.5))


def test_penalty_is_finite_when_padding_holds_nan():
    history = torch.tensor([[[math.nan, math.nan], [1.0, 0.0]]])
    penalty = scoring.degeneration_penalty(torch.tensor([[[1.0, 0.0]]]), history, torch.tensor([[False, True]]))
    assert penalty.item() == pytest.approx(1.0)


def test_match_is_scaled_cosine_when_features_are_not_normalised():
    match = scoring.scaled_cosine(torch.tensor([[2.0, 0.0]]), torch.tensor([[[3.0, 4.0], [0.0, 7.0]]]), 100.0)
    assert match[0].tolist() == pytest.approx([60.0, 0.0], abs=1e-5)


def test_match_is_plain_product_when_dot_product_is_wanted():
    match = scoring.dot_product(torch.tensor([[2.0, 1.0]]), torch.tensor([[[3.0, 4.0], [0.0, -7.0]]]))
    assert match[0].tolist() == [10.0, -7.0]


def test_score_weighs_three_terms_when_all_are_given():
    p, penalty, f = torch.tensor([[0.5, 0.2]]), torch.tensor([[0.8, -0.5]]), torch.tensor([[0.25, 0.75]])
    score = scoring.combine(p, penalty, 2.0 * f, alpha=0.1)
    assert score[0].tolist() == pytest.approx([0.9 * 0.5 - 0.08 + 0.5, 0.9 * 0.2 + 0.05 + 1.5])


@pytest.mark.parametrize(("alpha", "beta"), [(0.1, 2.0), (0.6, 0.15), (1.0, 0.0), (0.02, 3.0)])
def test_best_candidate_is_never_ruled_out_when_penalties_are_unknown(alpha, beta):
    generator = torch.Generator().manual_seed(0)
    confidence = torch.rand(2000, 12, generator=generator) * torch.rand(2000, 1, generator=generator)
    magic = (6 * torch.randn(2000, 12, generator=generator)).softmax(dim=-1)
    open_ = can_win(scoring.combine(confidence, None, beta * magic, alpha=alpha), None, unknown=2 * alpha)
    for penalty in (
        2 * torch.rand(2000, 12, generator=generator) - 1,
        torch.randint(2, (2000, 12), generator=generator) * 2.0 - 1,
    ):
        best = scoring.best_candidate(scoring.combine(confidence, penalty, beta * magic, alpha=alpha))
        assert bool(open_.gather(1, best[:, None]).all())
    assert alpha > 0.5 or open_.float().mean() < 0.5  # it rules out something


def test_candidate_stays_possible_when_it_could_just_win():
    gap = 2 * 0.1 / 0.9  # penalties 1 and -1 make up for so much confidence
    confidence = torch.tensor([[0.5, 0.5 - gap, 0.5 - gap - 1e-4]])
    assert can_win(scoring.combine(confidence, None, None, alpha=0.1), None, unknown=0.2).tolist() == [[True, True, False]]


def test_lower_rank_wins_when_scores_tie():
    assert scoring.best_candidate(torch.tensor([[1.0, 2.0, 2.0, 0.0], [3.0, 3.0, 3.0, 3.0]])).tolist() == [1, 0]


@pytest.mark.parametrize("k", [1, 3, 10, 50])
def test_top_k_keeps_reference_set_when_logits_are_random(random_logits, k):
    restricted = scoring.keep_top_k(random_logits, k)
    assert kept(restricted) == [filters.top_k(row, k) for row in random_logits.tolist()]
    assert torch.equal(restricted, TopKLogitsWarper(k)(None, random_logits))


@pytest.mark.parametrize("p", [0.05, 0.5, 0.9, 0.95, 0.999])
def test_nucleus_keeps_reference_set_when_logits_are_random(random_logits, p):
    restricted = scoring.keep_nucleus(random_logits, p)
    assert kept(restricted) == [filters.nucleus(row, p) for row in random_logits.tolist()]
    assert torch.equal(restricted, TopPLogitsWarper(p)(None, random_logits))


@pytest.mark.parametrize("mass", [0.05, 0.2, 0.5, 0.95])
def test_typical_keeps_reference_set_when_logits_are_random(random_logits, mass):
    restricted = scoring.keep_typical(random_logits, mass)
    assert kept(restricted) == [filters.typical(row, mass) for row in random_logits.tolist()]
    assert torch.equal(restricted, TypicalLogitsWarper(mass)(None, random_logits))


def test_nucleus_keeps_fewest_tokens_when_mass_is_reached_within():
    logits = torch.log(torch.tensor([[0.125, 0.5, 0.25, 0.125]]))
    assert kept(scoring.keep_nucleus(logits, 0.6)) == [{1, 2}]
    assert kept(scoring.keep_nucleus(logits, 0.4)) == [{1}]
    assert kept(scoring.keep_nucleus(logits, 1.0)) == [{0, 1, 2, 3}]


def test_typical_leaves_out_likeliest_token_when_its_surprise_is_far_from_entropy():
    # surprises 0.92, 1.61 (x 3); entropy 1.33: the three unlikely tokens are nearer than the likely one
    logits = torch.log(torch.tensor([[0.4, 0.2, 0.2, 0.2]]))
    assert kept(scoring.keep_typical(logits, 0.5)) == [{1, 2, 3}]


def test_typical_counts_zero_probability_as_no_entropy_when_logits_are_minus_infinity():
    logits = torch.tensor([[0.0, 0.0, -math.inf, -math.inf]])
    assert kept(scoring.keep_typical(logits, 0.9)) == [{0, 1}]


def test_draw_takes_token_whose_interval_holds_the_number_when_some_are_excluded():
    logits = torch.log(torch.tensor([0.25, 0.0, 0.5, 0.25, 0.0])).expand(6, -1)
    uniform = torch.tensor([0.0, 0.249, 0.251, 0.749, 0.751, 1 - 2**-53], dtype=torch.float64)
    assert scoring.draw(logits, uniform).tolist() == [0, 0, 2, 2, 3, 3]


def test_draw_skips_excluded_token_when_number_is_zero():
    logits = torch.tensor([[-math.inf, 0.0, 0.0]])
    assert scoring.draw(logits, torch.zeros(1, dtype=torch.float64)).tolist() == [1]


@pytest.mark.parametrize(
    "restrict",
    [lambda x: scoring.keep_top_k(x, 2), lambda x: scoring.keep_nucleus(x, 0.5), lambda x: scoring.keep_typical(x, 0.2)],
    ids=["top_k", "nucleus", "typical"],
)
def test_logits_stay_unchanged_when_restricted(restrict):
    logits = LOGITS.clone()
    assert not torch.equal(restrict(logits), LOGITS)
    assert torch.equal(logits, LOGITS)


def test_inputs_stay_unchanged_when_scored():
    candidates, history = torch.randn(2, 3, 4), torch.randn(2, 5, 4)
    valid = torch.tensor([[False, True, True, True, True], [True] * 5])
    before = [tensor.clone() for tensor in (candidates, history, valid)]
    scoring.degeneration_penalty(candidates, history, valid)
    scoring.scaled_cosine(history[:, 0], candidates, 100.0)
    assert all(torch.equal(a, b) for a, b in zip(before, (candidates, history, valid), strict=True))


def test_joining_candidates_are_the_likeliest_wanted_ones():
    p = torch.tensor([[0.4, 0.25, 0.2, 0.1, 0.05], [0.3, 0.25, 0.24, 0.2, 0.01]])
    wanted = torch.tensor([[True, False, True, True, True], [False, False, False, False, True]])
    ids, confidence, close = scoring.joining_candidates(p.log(), torch.tensor([[0], [0]]), wanted, most=2, floor=0.02)
    assert ids.tolist() == [[2, 3], [0, 0]], "one that is a candidate already, that is not wanted or too unlikely, does not join"
    torch.testing.assert_close(confidence, torch.tensor([[0.2, 0.1], [0.0, 0.0]]))
    assert close.tolist() == [False, False]
    none, *_ = scoring.joining_candidates(p.log(), torch.tensor([[0], [0]]), wanted, most=9, floor=0.5)
    assert none.shape == (2, 0)


@pytest.mark.parametrize(("values", "floor"), [([0.5, 0.2, 0.2, 0.1], 0.01), ([0.5, 0.3, 0.1, 0.1], 0.3)])
def test_it_is_said_where_rounding_may_choose_which_candidates_join(values, floor):
    logits = torch.tensor([values]).log()
    everything = torch.ones(1, 4, dtype=torch.bool)
    *_, close = scoring.joining_candidates(logits, torch.tensor([[0]]), everything, most=1, floor=floor)
    assert close.tolist() == [True]


def test_forbidden_tokens_do_not_join():
    logits = torch.tensor([[2.0, 1.0, -torch.inf, 0.5]])
    ids, *_ = scoring.joining_candidates(logits, torch.tensor([[0]]), torch.ones(1, 4, dtype=torch.bool), most=3, floor=1e-6)
    assert ids.tolist() == [[1, 3]]
