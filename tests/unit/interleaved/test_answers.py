"""Answers of text and image: the states that vokens come from, where images may stand, and how they are drawn."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from magic_cli.decoding.beam import BeamSearch
from magic_cli.decoding.magic import ContrastiveSearch, MagicSearch
from magic_cli.decoding.prompts import Prompt
from magic_cli.decoding.request import Options
from magic_cli.decoding.rules import MinimumLength, RepetitionPenalty, StopTexts
from magic_cli.decoding.sampling import GreedySearch, NucleusSampling
from magic_cli.interleaved.answers import Answering, voken_place
from magic_cli.interleaved.drawers import How, VokenDrawer, draw_images
from magic_cli.interleaved.run_settings import ForceImage
from magic_cli.interleaved.settings import Sampler

LENGTH = 100
METHODS = [NucleusSampling(LENGTH, p=0.9), GreedySearch(LENGTH), BeamSearch(LENGTH, num_beams=3), ContrastiveSearch(LENGTH, k=4, alpha=0.6),
           MagicSearch(LENGTH, k=4, alpha=0.1, beta=0.5)]  # fmt: skip
HOW = How(guidance=3.0, steps=3, sampler=Sampler.ddim)


class Likely:
    """A rule that makes the first voken likely after some tokens, as a trained model would."""

    def __init__(self, token, after):
        self.token, self.after = token, after

    def __call__(self, logits, prompts, generated):
        result = logits.clone()
        for row, ids in enumerate(generated):
            result[row, self.token] += 100.0 if len(ids) >= self.after else -100.0
        return result


@pytest.fixture
def prompts(interleaved_model):
    """Three prompts of different lengths, the first and the last with images in them."""
    generator = torch.Generator().manual_seed(0)
    images = [torch.randn(3, 48, generator=generator) for _ in range(3)]
    slot = interleaved_model.slot_text
    return [
        interleaved_model.prompt(f"A man rides {slot} and {slot} then", images[:2]),
        interleaved_model.prompt("Two dogs are running"),
        interleaved_model.prompt(f"{slot}", images[2:]),
    ]


def answering(model, method, force=ForceImage.none, rules=(), stop=None):
    return Answering(model, method, Options(rules=rules), stop, force)


def write(model, method, prompts, force=ForceImage.none, rules=(), stop=None, **options):
    options = {"new_tokens": 12} | options
    return answering(model, method, force, rules, stop).write(prompts, range(len(prompts)), **options)


def guides(method, clip, image_features):
    return [method.image_guide(clip, image_features[:3])] if method.needs_image else []


def teacher_forced(model, prompt, ids):
    """Last-layer states (T, H) of prompt and answer in one pass without cache, padding or anything else."""
    network, tokens = model.language_model.network, torch.tensor([[*prompt.ids, *ids]])
    vectors = network.embed(tokens).clone()
    for place, vector in prompt.vectors.items():
        vectors[0, place] = vector
    with torch.inference_mode():
        return network.hidden(tokens, use_cache=False, inputs_embeds=vectors)[0][0]


@pytest.mark.parametrize("force", ["none", "first", "last"])
@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
def test_voken_states_are_those_of_the_teacher_forced_pass(interleaved_model, clip, image_features, prompts, method, force):
    model, rules = interleaved_model, [Likely(interleaved_model.voken_ids[0], 3)] if force == "none" else []
    answers = answering(model, method, ForceImage(force), rules).write(
        prompts, [1, 2, 3], guides(method, clip, image_features), new_tokens=12
    )
    for prompt, answer in zip(prompts, answers, strict=True):
        place = voken_place(answer.ids, model.voken_ids)
        assert place == {"none": 3, "first": 0, "last": len(answer.ids) - 4}[force]
        first = len(prompt.ids) + place - 1
        expected = teacher_forced(model, prompt, answer.ids)[first : first + 4]
        assert (answer.features - expected).abs().max() < 1e-4


@pytest.mark.parametrize("look_ahead", ["tree", "repeated", "recompute"])
def test_voken_states_are_the_same_for_a_batch_of_one_and_without_cache(interleaved_model, prompts, look_ahead):
    model = interleaved_model
    together = write(model, METHODS[0], prompts, ForceImage.last)
    try:
        model.language_model.prepare(decoding_len=LENGTH, num_candidates=4, look_ahead=look_ahead)
        for seed, (prompt, expected) in enumerate(zip(prompts, together, strict=True)):
            [alone] = answering(model, METHODS[0], ForceImage.last).write([prompt], [seed], new_tokens=12)
            assert alone.ids == expected.ids and (alone.features - expected.features).abs().max() < 1e-4
    finally:
        model.language_model.prepare(decoding_len=128, num_candidates=4)


def test_states_cost_no_second_pass_when_vokens_are_written(interleaved_model, prompts):
    work, counts = interleaved_model.language_model.work, []
    for _ in range(2):
        before = work.counts["lm_positions"]
        answers = write(interleaved_model, METHODS[0], prompts, ForceImage.first, new_tokens=6)
        counts.append(work.counts["lm_positions"] - before)
    assert all(answer.features is not None for answer in answers)
    longest = max(len(prompt.ids) for prompt in prompts)
    assert counts[0] == counts[1] == 3 * longest + 3 * 5  # the prompts once, then one token a row; the last is not read


def test_vokens_come_whole_and_once_and_the_slot_never_whatever_is_likely(interleaved_model, prompts):
    model = interleaved_model
    always = [Likely(model.slot_id, 0), *(Likely(token, 0) for token in model.voken_ids)]
    for answer in write(model, GreedySearch(LENGTH), prompts, rules=always):
        vokens = [i for i in answer.ids if i in model.voken_ids]
        assert vokens == model.voken_ids and model.slot_id not in answer.ids
        assert all(later == earlier + 1 for earlier, later in pairwise(vokens))
        assert "IMG" not in answer.text and answer.text


def test_cut_group_is_no_image(interleaved_model, prompts):
    answers = write(
        interleaved_model, GreedySearch(LENGTH), prompts, rules=[Likely(interleaved_model.voken_ids[0], 3)], new_tokens=5
    )
    assert [answer.features for answer in answers] == [None] * 3
    assert [answer.ids[3:] for answer in answers] == [interleaved_model.voken_ids[:2]] * 3


def test_image_comes_last_behind_the_text_and_before_its_end(interleaved_model, prompts):
    model, language_model = interleaved_model, interleaved_model.language_model
    [plain, *_] = write(model, GreedySearch(LENGTH), prompts)
    stop = StopTexts([language_model.decode([plain.ids[2:3]])[0]], language_model.decode)
    [answer, *_] = write(model, GreedySearch(LENGTH), prompts, ForceImage.last, stop=stop)
    assert answer.ids == [*plain.ids[:2], *model.voken_ids]
    [kept, *_] = write(model, GreedySearch(LENGTH), prompts, ForceImage.last, rules=[Likely(model.voken_ids[0], 2)])
    assert kept.ids[2:6] == model.voken_ids and len(kept.ids) == 8  # the model's own, within the tokens that were asked for


def test_text_is_split_around_the_image(interleaved_model, prompts):
    model = interleaved_model
    [answer, *_] = write(model, GreedySearch(LENGTH), prompts, rules=[Likely(model.voken_ids[0], 3)])
    decode = lambda ids: " ".join(model.language_model.decode([ids])[0].split())
    assert (answer.before, answer.after) == (decode(answer.ids[:3]), decode(answer.ids[7:]))
    assert answer.text == f"{answer.before} {answer.after}"


def test_forced_image_fits_where_the_prompt_leaves_little_room(interleaved_model, prompts):
    room = len(prompts[0].ids) + 5
    for force in (ForceImage.first, ForceImage.last):
        [answer] = write(interleaved_model, NucleusSampling(room), prompts[:1], force, new_tokens=50)
        assert answer.features is not None and len(answer.ids) == 5


def test_rules_hold_beside_the_vokens(interleaved_model, prompts):
    language_model = interleaved_model.language_model
    rules = [RepetitionPenalty(1e3, of_prompt=False), MinimumLength(12, language_model.end_ids)]
    for answer in write(interleaved_model, GreedySearch(LENGTH), prompts, ForceImage.first, rules):
        assert len(set(answer.ids)) == len(answer.ids) == 12


def draw(model, answers, seeds, how=HOW):
    draw_images(VokenDrawer(model), answers, seeds, how)
    return [np.asarray(answer.image, dtype=int) for answer in answers]


def test_images_depend_on_their_seed_and_vokens_alone(interleaved_model, prompts):
    answers = write(interleaved_model, METHODS[0], prompts, ForceImage.first)
    together = draw(interleaved_model, answers, [1, 2, 3])
    for answer, seed, expected in zip(answers, [1, 2, 3], together, strict=True):
        [alone] = draw(interleaved_model, [answer], [seed])
        assert np.abs(alone - expected).max() <= 1  # the last bit of float32 may move a pixel by one of 256 levels
    backwards = draw(interleaved_model, answers[::-1], [3, 2, 1])[::-1]
    assert max(np.abs(one - other).max() for one, other in zip(together, backwards, strict=True)) <= 1
    other_seed = draw(interleaved_model, answers[:1], [2])[0]
    assert np.abs(other_seed - together[0]).max() > 1


def test_images_of_a_batch_are_sampled_together(interleaved_model, prompts, monkeypatch):
    rows, unet = [], interleaved_model.drawing.unet
    forward = unet.forward
    monkeypatch.setattr(
        unet, "forward", lambda sample, *args, **kwargs: (rows.append(len(sample)), forward(sample, *args, **kwargs))[1]
    )
    answers = write(interleaved_model, METHODS[0], prompts, ForceImage.first)
    draw(interleaved_model, answers, [1, 2, 3])
    assert rows == [6] * 3  # with guidance, both branches at once
    rows.clear()
    draw(interleaved_model, answers, [1, 2, 3], How(guidance=1.0, steps=3, sampler=Sampler.ddim))
    assert rows == [3] * 3


def test_guidance_of_one_is_the_conditional_branch_to_the_bit(interleaved_model, prompts):
    [answer, *_] = write(interleaved_model, METHODS[0], prompts, ForceImage.first)
    drawing, conditions = interleaved_model.drawing, interleaved_model.conditions(answer.features[None])
    how = {"steps": 3, "sampler": Sampler.ddim}
    pixels = [
        drawing.draw(conditions, nothing, [torch.Generator().manual_seed(1)], guidance=guidance, **how)
        for guidance in (1.0, 3.0)
        for nothing in (interleaved_model.mapper.unconditional(), torch.zeros_like(conditions))
    ]
    assert torch.equal(pixels[0], pixels[1])
    assert not torch.equal(pixels[0], pixels[2]) and not torch.equal(pixels[2], pixels[3])  # mapped zeros are the other branch


def test_answers_without_vokens_get_no_image(interleaved_model):
    [answer] = write(
        interleaved_model, GreedySearch(LENGTH), [Prompt([5, 6])], rules=[Likely(interleaved_model.voken_ids[0], 99)]
    )
    draw_images(VokenDrawer(interleaved_model), [answer], [1], HOW)
    assert answer.features is None and answer.image is None
