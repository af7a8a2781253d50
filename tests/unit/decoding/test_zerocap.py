"""ZeroCap against finite differences, its limits, and the slow twin of tests/reference/zerocap.py."""

import copy

import pytest
import torch

from magic_cli.decoding.text import CaptionFormat
from magic_cli.decoding.zerocap import shifting
from magic_cli.decoding.zerocap.method import ZeroCap
from magic_cli.decoding.zerocap.search import end_token, forbidden_tokens
from magic_cli.errors import MagicError, SettingsError
from magic_cli.models.language.language_model import HuggingFaceLanguageModel
from tests.decoding import Guidance, generate
from tests.reference import zerocap as reference

PROMPT = "<|endoftext|>A man"
SMALL = {"decoding_len": 7, "prompt": PROMPT, "num_texts": 12, "step_size": 0.6}


@pytest.fixture
def guidance(clip, image_features):
    return Guidance(clip, image_features)


def write(model, guidance, numbers=(0, 1, 2), **settings):
    prompts = [[model.start_id]] * len(numbers)
    images = Guidance(guidance.scorer, guidance.images[list(numbers)])
    return generate(model, ZeroCap(**{**SMALL, **settings}), prompts, guidance=images)


def twin(model, clip, image, **numbers):
    world = reference.World(
        network=model.network.model,
        decode=lambda ids: model.decode([ids])[0],
        encode_texts=clip.encode_texts,
        image=image,
        end=model.encode(".")[0],
        forbidden={
            i for i in range(model.vocab_size)
            if not (word := model.decode([[i]])[0].strip()).isalnum() or any(letter.isupper() for letter in word)
        } - {model.encode(".")[0]},
    )  # fmt: skip
    return reference.zerocap(world, reference.Numbers(length=6, texts=12, step_size=0.6, **numbers), model.encode(PROMPT))


@pytest.mark.parametrize("text_cache", [True, False])
def test_tokens_are_the_slow_twin_s_for_every_image(language_model, clip, guidance, text_cache):
    written = write(language_model, guidance, text_cache=text_cache)
    assert written == [twin(language_model, clip, image) for image in guidance.images[:3]]
    assert len({tuple(ids) for ids in written}) > 1, "captions depend on the image"


def test_tokens_are_the_slow_twin_s_when_several_beams_compete(language_model, clip, guidance):
    settings = {"forbidden_factor": 3.0, "repetition_penalty": 1.5, "end_factor": 4.0}
    written = write(language_model, guidance, num_beams=3, **settings)
    assert written == [twin(language_model, clip, image, beams=3, **settings) for image in guidance.images[:3]]
    assert any(len(ids) < 6 for ids in written), "a stopped beam takes part"


def test_gradient_of_the_image_loss_is_that_of_finite_differences(network_and_tokenizer):
    network, tokenizer = network_and_tokenizer
    model = HuggingFaceLanguageModel(copy.deepcopy(network).double(), tokenizer)
    ids = torch.tensor([model.encode(PROMPT), model.encode("<|endoftext|>Two dogs")[: len(model.encode(PROMPT))]])
    with torch.no_grad():
        context = model.read_context(ids[:, :-1])
        log_p0 = model.logits_on_context(ids[:, -1], context).log_softmax(dim=-1)
    generator = torch.Generator().manual_seed(0)
    targets = torch.randn(log_p0.shape, generator=generator, dtype=torch.float64).mul(3).softmax(dim=-1)
    context = [tensor + 0.1 * torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype) for tensor in context]

    def loss(tensors):
        logits = model.logits_on_context(ids[:, -1], tensors)
        return (shifting.image_loss(logits.log_softmax(dim=-1), targets) + 0.2 * shifting.divergence(logits, log_p0)).sum()

    leaves = [tensor.clone().requires_grad_() for tensor in context]
    gradients = torch.autograd.grad(loss(leaves), leaves)
    for number, (tensor, gradient) in enumerate(zip(context, gradients, strict=True)):
        direction = torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
        step = 1e-5

        def at(amount, number=number, direction=direction):
            with torch.no_grad():
                return float(loss([t + amount * direction if i == number else t for i, t in enumerate(context)]))

        slope = (at(step) - at(-step)) / (2 * step)
        assert float((gradient * direction).sum()) == pytest.approx(slope, rel=1e-6, abs=1e-9)
        assert abs(slope) > 1e-6


def test_divergence_is_the_textbook_s_and_moves_nothing_where_it_is_zero():
    generator = torch.Generator().manual_seed(0)
    logits, other = (torch.randn(2, 40, generator=generator) * 4 for _ in range(2))
    p = logits.double().softmax(dim=-1)
    expected = (p * (p.log() - other.double().log_softmax(dim=-1))).sum(dim=-1)
    assert shifting.divergence(logits, other.log_softmax(dim=-1)).double() == pytest.approx(expected.numpy(), rel=1e-5)
    logits.requires_grad_()
    shifting.divergence(logits, logits.detach().log_softmax(dim=-1)).sum().backward()
    assert logits.grad.abs().max() == 0


def test_context_stays_where_it_is_when_only_the_divergence_counts(language_model):
    ids = torch.tensor([language_model.encode(PROMPT)])
    with torch.no_grad():
        context = language_model.read_context(ids[:, :-1])
        own = language_model.network.own_logits(ids)
    logits_on = lambda moved: language_model.logits_on_context(ids[:, -1], moved)
    how = shifting.Steps(iterations=3, clip_scale=0.0, ce_scale=0.2, step_size=0.3, norm_factor=0.9)
    never = shifting.shift(logits_on, context, None, how)
    flat = shifting.shift(logits_on, context, torch.zeros_like, how)
    assert torch.equal(flat.logits, never.logits) and [losses["divergence"] for losses in flat.losses] == [[0.0]] * 3
    assert torch.allclose(flat.logits, own, atol=1e-4)


def test_plain_language_model_under_the_same_filters_is_left_when_the_image_has_no_weight(language_model, guidance):
    written = generate(language_model, ZeroCap(**SMALL, clip_scale=0.0), [[language_model.start_id]])[0]
    ids, end = language_model.encode(PROMPT), language_model.encode(".")[0]
    forbidden = forbidden_tokens(language_model).clone()
    forbidden[end] = False
    expected = []
    while len(expected) < 6 and end not in expected:
        with torch.no_grad():
            plain = language_model.network.own_logits(torch.tensor([[*ids, *expected]]))[0]
        logits = plain.clone()
        factor = 1 / 1.6 if not expected else 1.01
        logits[end] *= factor if logits[end] > 0 else 1 / factor
        logits[forbidden] = torch.where(logits > 0, logits / 20, logits * 20)[forbidden]
        expected.append(int((0.99 * logits.log_softmax(0) + 0.01 * plain.log_softmax(0)).argmax()))
    assert written == expected
    assert not ZeroCap(clip_scale=0.0).needs_image and ZeroCap(clip_scale=0.0, num_beams=2).needs_image
    assert written != write(language_model, guidance, (0,))[0] or written != write(language_model, guidance, (1,))[0]


def test_batch_equals_images_one_by_one_and_texts_are_encoded_once_with_the_cache(language_model, clip, guidance):
    together = write(language_model, guidance, (3, 0, 5))
    assert together == [write(language_model, guidance, (number,))[0] for number in (3, 0, 5)]
    counts = []
    for text_cache in (False, True):
        before = clip.work.counts["texts_encoded"]
        ids = write(language_model, guidance, (0,), text_cache=text_cache)[0]
        counts.append(clip.work.counts["texts_encoded"] - before)
    assert counts[0] == 12 * 5 * len(ids) and counts[1] < counts[0] / 2


def test_caption_is_generated_tokens_only_up_to_the_full_stop(language_model, guidance):
    written = write(language_model, guidance, end_factor=100.0)[0]
    end = end_token(language_model, ".")
    assert written.index(end) == len(written) - 1 >= 1
    caption = CaptionFormat(language_model).text([language_model.start_id], written)
    assert caption.endswith(".") and "A man" not in caption


def test_words_of_the_run_s_prompt_follow_the_method_s_own(language_model, guidance):
    words = language_model.encode(" riding")
    method = ZeroCap(**SMALL | {"decoding_len": 7 + len(words)})
    images = Guidance(guidance.scorer, guidance.images[:1])
    with_words = generate(language_model, method, [[language_model.start_id, *words]], guidance=images)
    assert with_words == write(language_model, guidance, (0,), prompt=f"{PROMPT} riding")


def test_trace_holds_every_choice_with_its_losses(language_model, guidance):
    seen = []
    ids = generate(
        language_model, ZeroCap(**SMALL), [[language_model.start_id]], guidance=Guidance(guidance.scorer, guidance.images[:1]),
        on_step=lambda *step: seen.append(step),
    )[0]  # fmt: skip
    assert [(index, step, details["choice"]) for index, step, details in seen] == [(0, i, token) for i, token in enumerate(ids)]
    for _, _, details in seen:
        assert details["choice"] == details["token_ids"][0] and details["p"] == sorted(details["p"], reverse=True)
        assert len(details["image_loss"]) == 5 and details["divergence"][0] == 0 < details["divergence"][-1]
    assert all(details["image_loss"][-1] < details["image_loss"][0] for _, _, details in seen[:1])


def test_forbidden_are_tokens_not_of_letters_and_digits_and_capitalised_ones(language_model):
    forbidden = forbidden_tokens(language_model)
    texts = language_model.token_texts(range(language_model.vocab_size))
    of = {text: bool(flag) for text, flag in zip(texts, forbidden, strict=True)}
    assert of["."] and of["<|endoftext|>"] and of["A"] and of[","]
    assert not of[" man"] and not of["a"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_beams": 0}, "decoding.num_beams must be at least 1, got 0"),
        ({"clip_loss_temperature": 0.0}, "decoding.clip_loss_temperature must be greater than 0"),
        ({"fusion_factor": 1.5}, r"decoding.fusion_factor must be in \[0, 1\], got 1.5"),
        ({"step_size": -1.0}, "decoding.step_size must be at least 0, got -1.0"),
        ({"decoding_len": 1}, "decoding.decoding_len must be at least 2, got 1"),
        ({"decoding_len": 2, "prompt": "A man"}, "decoding.prompt must open with '<|endoftext|>' or '<-start_of_text->'"),
        ({"end_token": "dogs."}, "decoding.end_token must be one token of the language model, got 'dogs.'"),
        ({"num_texts": 10_000}, r"decoding.num_texts must be in \[1, \d+\], got 10000"),
    ],
)
def test_setting_that_cannot_work_is_one_clear_line(language_model, guidance, settings, message):
    with pytest.raises(SettingsError, match=message.replace("|", r"\|")):
        write(language_model, guidance, **settings)


def test_prompt_that_fills_decoding_len_is_refused(language_model, guidance):
    with pytest.raises(SettingsError, match="decoding.decoding_len counts the prompt and must exceed its 3 tokens, got 3"):
        generate(language_model, ZeroCap(**SMALL | {"decoding_len": 3}), [[400, 1, 2]], guidance=guidance)


def test_run_is_refused_when_a_model_computes_nan(make_language_model, clip, guidance):
    model = make_language_model()
    with pytest.raises(MagicError, match="^image_text_model: the model computes NaN"):
        write(model, Guidance(clip, torch.full_like(guidance.images, torch.nan)))
    model.logits_on_context = lambda last, context: context[0].sum() * torch.full((1, model.vocab_size), torch.nan)
    with pytest.raises(MagicError, match="^language_model: the model computes NaN"):
        write(model, guidance)


def test_text_is_written_when_weights_are_bfloat16(network_and_tokenizer, guidance):
    network, tokenizer = network_and_tokenizer
    model = HuggingFaceLanguageModel(copy.deepcopy(network).bfloat16(), tokenizer)
    written = write(model, guidance, num_beams=2)
    assert all(0 <= token < model.vocab_size for ids in written for token in ids) and len(set(map(tuple, written))) > 1
