"""Prompts that hold vectors in places, and the hidden states of what was written."""

from dataclasses import replace

import pytest
import torch

from magic_cli.decoding import generate as core
from magic_cli.decoding.beam import BeamSearch
from magic_cli.decoding.magic import ClipText, ContrastiveSearch, MagicSearch
from magic_cli.decoding.prompts import Prompt
from magic_cli.decoding.request import Options
from magic_cli.decoding.rerank import Rerank
from magic_cli.decoding.rules import ForbiddenWords, RepetitionPenalty
from magic_cli.decoding.sampling import GreedySearch, NucleusSampling
from magic_cli.decoding.shortcuts.memory import StepMemory
from magic_cli.decoding.token_texts import token_texts
from magic_cli.decoding.zerocap.method import ZeroCap
from magic_cli.errors import MagicError, SettingsError
from tests.decoding import Guidance, generate

LENGTH = 16
METHODS = [MagicSearch(LENGTH, k=5, alpha=0.1, beta=0.4), ContrastiveSearch(LENGTH, k=4, alpha=0.6), GreedySearch(LENGTH), BeamSearch(LENGTH, num_beams=3),
           NucleusSampling(LENGTH, p=0.9)]  # fmt: skip
each_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
each_way = pytest.mark.parametrize("look_ahead", ["tree", "repeated", "recompute"])


def with_vectors(model, ids, places):
    """The same prompt with the embeddings of some of its tokens in their places, and other ids there."""
    embedded = model.network.embed(torch.tensor(ids))
    return Prompt(
        [0 if place in places else token for place, token in enumerate(ids)], {place: embedded[place] for place in places}
    )


@pytest.fixture
def prompts(language_model):
    return [[language_model.start_id, *language_model.encode(text)] for text in ("A man rides", "Two dogs are running", "A")]


@each_method
@each_way
def test_same_text_is_written_when_tokens_stand_as_their_vectors(
    make_language_model, clip, image_features, prompts, method, look_ahead
):
    model, guidance = make_language_model(look_ahead=look_ahead), Guidance(clip, image_features[:3])
    expected = generate(model, method, prompts, guidance=guidance, seeds=[1, 2, 3])
    mixed = [with_vectors(model, prompts[0], {1, 2}), prompts[1], with_vectors(model, prompts[2], {0})]
    assert generate(model, method, mixed, guidance=guidance, seeds=[1, 2, 3], memory=StepMemory(1 << 20)) == expected


@each_way
def test_vectors_that_are_no_tokens_change_the_text_and_batches_do_not(make_language_model, prompts, look_ahead):
    model, method = make_language_model(look_ahead=look_ahead), GreedySearch(LENGTH)
    generator = torch.Generator().manual_seed(0)
    strange = [
        Prompt(ids, {1: torch.randn(model.network.embed(torch.tensor([0])).shape[-1], generator=generator)})
        for ids in prompts
        if len(ids) > 1
    ]
    alone = [generate(model, method, [prompt])[0] for prompt in strange]
    assert generate(model, method, strange) == alone
    assert alone != generate(model, method, [prompt.ids for prompt in strange])


def test_prompt_with_vectors_is_refused_in_one_line_when_nobody_can_serve_it(
    make_language_model, clip, image_features, prompts, monkeypatch
):
    model = make_language_model()
    prompt = with_vectors(model, prompts[0], {1})
    with pytest.raises(MagicError, match="^decoding=zerocap reads no prompts with vectors"):
        generate(
            model, ZeroCap(prompt="<|endoftext|>A photo", num_texts=8), [prompt], guidance=Guidance(clip, image_features[:1])
        )
    with pytest.raises(MagicError, match="^language_model: .* takes vectors of .* numbers in a prompt, got"):
        generate(model, GreedySearch(LENGTH), [Prompt([1, 2], {0: torch.zeros(3)})])
    model = make_language_model()
    monkeypatch.setattr(type(model.network), "takes_vectors", False)
    with pytest.raises(MagicError, match="^language_model: .* reads token ids only"):
        generate(model, GreedySearch(LENGTH), [prompt])
    with pytest.raises(ValueError, match="^vectors stand at places 0 to 1"):
        Prompt([1, 2], {2: torch.zeros(3)})


@each_method
@pytest.mark.parametrize("remembers", [False, True])
def test_hidden_states_are_those_that_a_plain_pass_chooses_from_when_asked_for(
    language_model, network_and_tokenizer, clip, image_features, prompts, method, remembers
):
    network, _ = network_and_tokenizer
    guides, memory = [method.image_guide(clip, image_features[:3])], StepMemory(1 << 20) if remembers else None
    plain = core.generate(language_model, method, prompts, guides, Options(memory=memory))
    written = core.generate(language_model, method, prompts, guides, Options(with_hidden=True, memory=memory))
    assert [one.ids for one in written] == [one.ids for one in plain] and all(one.hidden is None for one in plain)
    for prompt, one in zip(prompts, written, strict=True):
        with torch.inference_mode():
            hidden = network.base_model(torch.tensor([[*prompt, *one.ids]])).last_hidden_state[0, len(prompt) - 1 : -1]
        assert torch.allclose(one.hidden, hidden, atol=1e-4) and len(one.hidden) == len(one.ids)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
def test_hidden_states_cost_no_pass_when_the_loop_has_them(language_model, clip, image_features, prompts, method):
    work, guides = language_model.work, [method.image_guide(clip, image_features[:3])]
    counts = []
    for with_hidden in (False, True):
        before = work.counts["lm_positions"]
        written = core.generate(language_model, method, prompts, guides, Options(with_hidden=with_hidden))
        counts.append(work.counts["lm_positions"] - before)
    again = (
        0
        if not isinstance(method, BeamSearch)
        else 3 * max(len(prompt) + len(one.ids) - 1 for prompt, one in zip(prompts, written, strict=True))
    )
    assert counts[1] - counts[0] == again  # beam search may return a text that no row holds any more


@each_method
def test_no_more_tokens_are_written_than_asked_for(language_model, clip, image_features, prompts, method):
    guides = [method.image_guide(clip, image_features[:3])]
    assert [len(one.ids) for one in core.generate(language_model, method, prompts, guides, Options(new_tokens=2))] == [2, 2, 2]
    zerocap = ZeroCap(prompt="<|endoftext|>A photo", num_texts=8, num_iterations=1)
    assert [
        len(ids)
        for ids in generate(language_model, zerocap, prompts[:1], guidance=Guidance(clip, image_features[:1]), new_tokens=1)
    ] == [1]


@pytest.mark.parametrize("method", [GreedySearch(LENGTH), MagicSearch(LENGTH, k=5, alpha=0.1, beta=0.7, clip_text=ClipText.prefix_and_generated),
                                    Rerank(LENGTH, base=NucleusSampling(LENGTH, p=0.9), num=4)], ids=lambda method: type(method).__name__)  # fmt: skip
@each_way
def test_id_in_a_vector_s_place_changes_nothing(make_language_model, clip, image_features, prompts, method, look_ahead):
    """Whatever it is, no rule and no image-text model reads it; nor need the model have it."""
    model = make_language_model(look_ahead=look_ahead)
    rules = [RepetitionPenalty(3.0), ForbiddenWords(["on"], token_texts(model))]
    embedded = model.network.embed(torch.tensor(prompts[0]))

    def write(filler):
        ids = [filler if place in (1, 2) else token for place, token in enumerate(prompts[0])]
        prompt = Prompt(ids, {place: embedded[place] for place in (1, 2)})
        return generate(model, method, [prompt], guidance=Guidance(clip, image_features[:1]), rules=rules)

    assert write(0) == write(20) == write(301) == write(-200) == write(99_999)


@pytest.mark.parametrize(
    ("prompts", "number", "seeds", "told"),
    [
        ([[]], 1, None, "generate: prompt 1 has no tokens; begin it with the model's start token"),
        ([[5], [6]], 2, [1], "generate: there must be as many seeds as prompts, which are 2, got 1"),
        ([[5]], 1, [1, 2], "generate: there must be as many seeds as prompts, which are 1, got 2"),
        ([[5], [6]], 1, None, "generate: there must be as many vectors of guide 1 as prompts, which are 2, got 1"),
        ([[5]], 3, None, "generate: there must be as many vectors of guide 1 as prompts, which are 1, got 3"),
    ],
)
def test_numbers_that_do_not_fit_are_told_in_one_line(language_model, clip, image_features, prompts, number, seeds, told):
    with pytest.raises(SettingsError) as error:
        generate(language_model, METHODS[0], prompts, guidance=Guidance(clip, image_features[:number]), seeds=seeds)
    assert str(error.value) == told


@pytest.mark.parametrize("weight", [-5.0, float("nan")])
def test_weight_of_a_guide_is_not_negative(language_model, clip, image_features, prompts, weight):
    guides = [replace(METHODS[0].image_guide(clip, image_features[:3]), weight=weight)]
    method = MagicSearch(LENGTH, k=5, alpha=0.1, beta=0.7)
    with pytest.raises(SettingsError, match=f"generate: guide 1 has the weight {weight}; it must be at least 0"):
        core.generate(language_model, method, prompts, guides)
