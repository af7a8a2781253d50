"""Settings are refused where they enter, in one line that names them as the user types them."""

import math

import pytest

from magic_cli.decoding.beam import BeamSearch
from magic_cli.decoding.magic import ClipText, ContrastiveSearch, MagicSearch
from magic_cli.decoding.sampling import GreedySearch, NucleusSampling, TopKSampling, TypicalSampling
from magic_cli.decoding.step import Step, candidate_sequences
from magic_cli.errors import SettingsError
from tests.decoding import generate
from tests.tiny_models import END


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MagicSearch(16, k=5, alpha=3, beta=1.0), "decoding.alpha must be in [0, 1], got 3"),
        (lambda: MagicSearch(16, k=5, alpha=-0.1, beta=1.0), "decoding.alpha must be in [0, 1], got -0.1"),
        (lambda: MagicSearch(16, k=5, alpha=math.nan, beta=1.0), "decoding.alpha must be a finite number, got nan"),
        (lambda: MagicSearch(16, k=5, alpha=0.1, beta=math.inf), "decoding.beta must be a finite number, got inf"),
        (lambda: MagicSearch(16, k=5, alpha=0.1, beta=-1.0), "decoding.beta must be at least 0, got -1.0"),
        (lambda: MagicSearch(16, k=0, alpha=0.1, beta=1.0), "decoding.k must be at least 1, got 0"),
        (
            lambda: MagicSearch(16, k=5, alpha=0.1, beta=1.0, clip_text_window=0),
            "decoding.clip_text_window must be at least 1, got 0",
        ),
        (lambda: ContrastiveSearch(1, k=5, alpha=0.1), "decoding.decoding_len must be at least 2, got 1"),
        (lambda: BeamSearch(16, num_beams=0), "decoding.num_beams must be at least 1, got 0"),
        (lambda: BeamSearch(16, length_penalty=math.nan), "decoding.length_penalty must be a finite number, got nan"),
        (lambda: TopKSampling(16, k=0), "decoding.k must be at least 1, got 0"),
        (lambda: NucleusSampling(16, p=0.0), "decoding.p must be in (0, 1], got 0.0"),
        (lambda: NucleusSampling(16, p=1.5), "decoding.p must be in (0, 1], got 1.5"),
        (lambda: TypicalSampling(16, mass=0.0), "decoding.mass must be in (0, 1], got 0.0"),
        (lambda: TopKSampling(16, temperature=0.0), "decoding.temperature must be greater than 0, got 0.0"),
    ],
)
def test_setting_is_refused_when_out_of_range(make, message):
    with pytest.raises(SettingsError) as refused:
        make()
    assert str(refused.value) == message


@pytest.mark.parametrize("edge", [{"alpha": 0.0}, {"alpha": 1.0}, {"beta": 0.0}, {"k": 1}, {"clip_text_window": 1}])
def test_setting_is_accepted_when_on_the_edge_of_its_range(edge):
    MagicSearch(**{"decoding_len": 2, "k": 5, "alpha": 0.1, "beta": 1.0} | edge)


def test_run_is_refused_when_k_exceeds_vocabulary(language_model):
    k = language_model.vocab_size + 1
    with pytest.raises(SettingsError, match=f"^decoding.k must be at most the vocabulary size {k - 1}, got {k}$"):
        generate(language_model, ContrastiveSearch(8, k=k, alpha=0.1), [[language_model.start_id]])


@pytest.mark.parametrize("decoding_len", [4, 5])
def test_run_is_refused_when_longest_prompt_fills_decoding_len(language_model, decoding_len):
    with pytest.raises(SettingsError, match=f"^decoding.decoding_len .* exceed its 5 tokens, got {decoding_len}$"):
        generate(language_model, GreedySearch(decoding_len), [[1], [1, 2, 3, 4, 5]])


def test_run_is_refused_when_method_needs_an_image_and_has_none(language_model):
    with pytest.raises(SettingsError, match="^decoding: MagicSearch looks at an image"):
        generate(language_model, MagicSearch(8, k=3, alpha=0.1, beta=1.0), [[language_model.start_id]])


def test_image_is_needed_only_when_beta_is_positive():
    assert MagicSearch(8, k=3, alpha=0.1, beta=0.5).needs_image
    assert not MagicSearch(8, k=3, alpha=0.1, beta=0.0).needs_image
    assert not ContrastiveSearch(8, k=3, alpha=0.1).needs_image


def sequences(model, *, prompt=(), generated=(), candidates=(), window=60, include_prompt=False):
    step = Step(model, None, None, [list(prompt)], [list(generated)], [1], [], lambda row, token: False)
    return candidate_sequences(step, [list(candidates)], window=window, include_prompt=include_prompt)


def test_scored_text_keeps_last_tokens_when_longer_than_window(language_model):
    assert sequences(language_model, generated=[10, 11, 12], candidates=[20, 21], window=3) == [[11, 12, 20], [11, 12, 21]]
    assert sequences(language_model, generated=[10, 11, 12], candidates=[20], window=1) == [[20]]
    assert sequences(language_model, generated=[10, 11, 12], candidates=[20], window=60) == [[10, 11, 12, 20]]


def test_scored_text_stops_at_end_of_text_when_candidate_or_text_has_it(language_model):
    end = language_model.end_id
    assert language_model.token_texts([end]) == [END] and language_model.decode([[end]]) == [""]
    assert sequences(language_model, generated=[10], candidates=[end, 20]) == [[10], [10, 20]]
    assert sequences(language_model, generated=[10, end, 11], candidates=[20, 21]) == [[10], [10]]


def test_scored_text_starts_with_prompt_words_when_prompt_is_included(language_model):
    start, end = language_model.start_id, language_model.end_id
    step = {"prompt": [start, 7, 8, end], "generated": [10], "candidates": [20]}
    assert sequences(language_model, **step, include_prompt=True) == [[7, 8, 10, 20]]
    assert sequences(language_model, **step) == [[10, 20]]
    assert MagicSearch(8, k=1, alpha=0.1, beta=1.0).clip_text is ClipText.generated
