"""The sampled methods: reproducible, independent of their neighbours, and of the right distribution."""

import pytest
import torch

from magic_cli.decoding.sampling import GreedySearch, NucleusSampling, TopKSampling, TypicalSampling
from tests.decoding import generate
from tests.reference import filters

LENGTH = 12
METHODS = {
    "top_k": TopKSampling(LENGTH, k=20),
    "nucleus": NucleusSampling(LENGTH, p=0.9),
    "typical": TypicalSampling(LENGTH, mass=0.5),
}
each_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())


@each_method
def test_sample_repeats_when_seed_is_the_same(language_model, method):
    prompts = [[language_model.start_id]] * 2
    first = generate(language_model, method, prompts, seeds=[7, 8])
    assert generate(language_model, method, prompts, seeds=[7, 8]) == first
    assert first[0] != first[1]


@each_method
def test_sample_depends_on_its_own_seed_only_when_neighbours_change(language_model, method):
    prompt = [language_model.start_id]
    alone = generate(language_model, method, [prompt], seeds=[7])[0]
    others = [[5, 6, 7], prompt, [9]]
    assert generate(language_model, method, others, seeds=[1, 7, 2])[1] == alone
    assert generate(language_model, method, [prompt] * 3, seeds=[7, 7, 8])[:2] == [alone, alone]


def test_seed_is_zero_when_none_is_given(language_model):
    prompts = [[language_model.start_id]] * 2
    seeded = generate(language_model, METHODS["nucleus"], prompts, seeds=[0, 0])
    assert generate(language_model, METHODS["nucleus"], prompts) == seeded


@pytest.mark.parametrize(
    ("method", "allowed"),
    [
        (TopKSampling(2, k=5), lambda logits: filters.top_k(logits, 5)),
        (NucleusSampling(2, p=0.6), lambda logits: filters.nucleus(logits, 0.6)),
        (TypicalSampling(2, mass=0.4), lambda logits: filters.typical(logits, 0.4)),
        (TopKSampling(2, k=5, temperature=2.5), lambda logits: filters.top_k(logits, 5)),
        (NucleusSampling(2, p=0.6, temperature=1.5), lambda logits: filters.nucleus(logits, 0.6)),
    ],
)
def test_frequencies_follow_restricted_distribution_when_many_seeds_draw(language_model, method, allowed):
    number = 3000
    state = language_model.prefill([[language_model.start_id]])
    logits = (state.logits[0] / method.temperature).tolist()
    kept = allowed(logits)
    probs = filters.softmax([value if i in kept else -1e9 for i, value in enumerate(logits)])
    drawn = generate(language_model, method, [[language_model.start_id]] * number, seeds=range(number))
    counts = torch.bincount(torch.tensor(drawn).flatten(), minlength=len(probs))
    assert {i for i, count in enumerate(counts.tolist()) if count} <= kept
    # five standard deviations: with fixed seeds this passes always or never
    for i in kept:
        assert abs(counts[i] / number - probs[i]) < 5 * (probs[i] * (1 - probs[i]) / number) ** 0.5 + 1e-9


@pytest.mark.parametrize(
    "method", [TopKSampling(LENGTH, k=1), NucleusSampling(LENGTH, p=1e-6), TopKSampling(LENGTH, temperature=1e-4)]
)
def test_sampling_is_greedy_when_one_token_is_left(language_model, method):
    prompts = [[language_model.start_id], language_model.encode("A man")]
    assert generate(language_model, method, prompts, seeds=[3, 4]) == generate(language_model, GreedySearch(LENGTH), prompts)


def test_trace_holds_probability_within_restricted_set_when_sampled(language_model):
    seen = []
    generate(language_model, TopKSampling(6, k=1), [[1]], on_step=lambda index, step, details: seen.append(details))
    assert [details["p"] for details in seen] == [[1.0]] * 5
