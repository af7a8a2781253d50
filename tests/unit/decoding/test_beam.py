"""Beam search against transformers' own ``generate`` and against exhaustive search."""

import itertools

import pytest
import torch

from magic_cli.decoding.beam import BeamSearch
from magic_cli.decoding.sampling import GreedySearch
from magic_cli.decoding.text import CaptionFormat
from tests.decoding import generate

PROMPTS = ["", "A man", "Two dogs are running over the green", "A plate of food with broccoli and meat.", "The man wasn't"]


def transformers_beam(network, tokenizer, prompt, *, ends, decoding_len, num_beams, length_penalty):
    out = network.generate(
        torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)), do_sample=False, num_beams=num_beams,
        max_length=decoding_len, length_penalty=length_penalty, early_stopping=False, pad_token_id=tokenizer.pad_token_id,
        eos_token_id=ends,
    )  # fmt: skip
    ids = out[0, len(prompt) :].tolist()
    places = [place for place, token in enumerate(ids) if token in ends]
    return ids[: places[0] + 1] if places else ids


@pytest.mark.parametrize("num_beams", [1, 4, 10])
@pytest.mark.parametrize(("length_penalty", "more_ends"), [(1.0, ""), (0.0, ""), (2.0, ""), (-0.5, ""), (1.0, ". a")])
def test_beam_search_equals_transformers_when_batch_is_ragged(
    make_language_model, network_and_tokenizer, num_beams, length_penalty, more_ends
):
    network, tokenizer = network_and_tokenizer
    language_model = make_language_model()
    language_model.end_ids |= set(language_model.encode(more_ends))
    prompts = [[language_model.start_id, *language_model.encode(text)] for text in PROMPTS]
    settings = {"decoding_len": 24, "num_beams": num_beams, "length_penalty": length_penalty}
    expected = [
        transformers_beam(network, tokenizer, prompt, ends=sorted(language_model.end_ids), **settings) for prompt in prompts
    ]
    assert generate(language_model, BeamSearch(**settings), prompts) == expected
    if num_beams > 1 and length_penalty <= 1:  # cases without early ends would show little
        assert any(len(prompt) + len(ids) < 24 for prompt, ids in zip(prompts, expected, strict=True))


@pytest.mark.parametrize("look_ahead", ["repeated", "recompute"])
def test_beams_stay_the_same_when_look_ahead_way_changes(make_language_model, language_model, look_ahead):
    prompts = [[language_model.start_id], language_model.encode("A man riding")]
    method = BeamSearch(20, num_beams=4)
    assert generate(make_language_model(look_ahead=look_ahead), method, prompts) == generate(language_model, method, prompts)


def test_one_beam_is_greedy_until_end_of_text_when_length_penalty_is_one(language_model):
    prompts = [[language_model.start_id, *language_model.encode(text)] for text in PROMPTS]
    greedy = generate(language_model, GreedySearch(24), prompts, text_format=CaptionFormat(language_model))
    assert generate(language_model, BeamSearch(24, num_beams=1), prompts) == greedy


class ThreeWords:
    """A hand-made language model: next-token log probabilities that depend on the last token alone."""

    vocab_size, positions, start_id, end_ids = 3, None, 0, frozenset({2})
    table = torch.log(torch.tensor([[0.5, 0.4, 0.1], [0.05, 0.15, 0.8], [0.3, 0.3, 0.4]]))

    class State:
        def __init__(self, last):
            self.last, self.logits = last, ThreeWords.table[last]
            self.hidden, self.valid = torch.zeros(len(last), 1, 1), torch.ones(len(last), 1, dtype=torch.bool)

    def prefill(self, prompts):
        return self.State(torch.tensor([prompt.ids[-1] for prompt in prompts]))

    def peek(self, state, ids):
        state.peeked = ids
        return torch.zeros(*ids.shape, 1)

    def commit(self, state, choice):
        state.__init__(state.peeked.gather(1, choice[:, None]).squeeze(1))

    def select(self, state, rows):
        return self.State(state.last[rows])


def test_likelier_text_wins_when_greedy_is_misled():
    # greedy: 0 (0.5), 0 (0.5) ...; better: 1 (0.4), end (0.8)
    assert generate(ThreeWords(), GreedySearch(3), [[0]]) == [[0, 0]]
    assert generate(ThreeWords(), BeamSearch(3, num_beams=2), [[0]]) == [[1, 2]]


@pytest.mark.parametrize("length_penalty", [0.5, 1.0])
def test_best_of_all_texts_is_found_when_beam_holds_every_one(length_penalty):
    def score(ids):
        path = [0, *ids]
        return sum(float(ThreeWords.table[a, b]) for a, b in itertools.pairwise(path)) / len(ids) ** length_penalty

    complete = [
        ids for length in (1, 2, 3) for ids in itertools.product(range(3), repeat=length)
        if 2 not in ids[:-1] and (length == 3 or ids[-1] == 2)
    ]  # fmt: skip
    found = generate(ThreeWords(), BeamSearch(4, num_beams=20, length_penalty=length_penalty), [[0]])
    assert found == [list(max(complete, key=score))]
