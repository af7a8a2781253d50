"""Drawing from a text alone: as diffusers' own pipeline does, and with answers that hold no vokens."""

import numpy as np
import pytest
import torch

from magic_cli.data.interleaved import InterleavedItem, Part, Step
from magic_cli.decoding.request import Options
from magic_cli.decoding.sampling import NucleusSampling
from magic_cli.errors import MagicError
from magic_cli.interleaved.answers import Answering
from magic_cli.interleaved.drawers import Answer, How, draw_images
from magic_cli.interleaved.loading import load_text_drawer, text_drawer
from magic_cli.interleaved.prompts import Context, told_text
from magic_cli.interleaved.settings import DiffusionPart, Sampler

TEXTS = ["a dog", "a cat"]


@pytest.fixture(scope="module")
def source(interleaved_folder):
    return DiffusionPart(path=str(interleaved_folder / "diffusion"))


@pytest.fixture(scope="module")
def drawer(source):
    return load_text_drawer(source, device=torch.device("cpu"), dtype=torch.float32)[0]


def levels(images):
    return [np.asarray(image, dtype=int) for image in images]


@pytest.mark.parametrize(("masked", "guidance"), [(False, 3.0), (False, 1.0), (True, 3.0)])
def test_images_are_those_of_the_stable_diffusion_pipeline(drawer, source, masked, guidance):
    from diffusers import PNDMScheduler, StableDiffusionPipeline

    drawing, conditions = drawer.drawing, drawer.conditions
    conditions.encoder.config.use_attention_mask = masked
    scheduler = PNDMScheduler.from_pretrained(source.path, subfolder="scheduler", skip_prk_steps=True, clip_sample=False)
    pipeline = StableDiffusionPipeline(
        drawing.vae, conditions.encoder, conditions.tokenizer, drawing.unet, scheduler, None, None, requires_safety_checker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    side = drawing.unet.config.sample_size
    noise = [torch.randn((4, side, side), generator=torch.Generator().manual_seed(seed)) for seed in (5, 6)]
    expected = pipeline(
        TEXTS, height=drawing.side, width=drawing.side, guidance_scale=guidance, num_inference_steps=4, latents=torch.stack(noise)
    ).images
    answers = [Answer([], "", description=text) for text in TEXTS]
    found = drawer.draw(answers, [5, 6], How(guidance, 4, Sampler.pndm))
    for one, other in zip(levels(found), levels(expected), strict=True):
        assert np.abs(one - other).max() <= 1
    assert np.abs(levels(found)[0] - levels(found)[1]).max() > 1
    conditions.encoder.config.use_attention_mask = False


def test_only_answers_with_a_text_get_an_image(drawer):
    answers = [Answer([], "", description=text) for text in ("", "a dog", "")]
    draw_images(drawer, answers, [1, 2, 3], How(3.0, 2, Sampler.ddim))
    assert [answer.image is None for answer in answers] == [True, False, True]
    [alone] = levels(drawer.draw([answers[1]], [2], How(3.0, 2, Sampler.ddim)))
    assert np.abs(levels([answers[1].image])[0] - alone).max() <= 1


def test_answers_without_vokens_hold_none_and_are_drawn_from_their_text(interleaved_model, source):
    model = interleaved_model

    def wants_vokens(logits, prompts, generated):
        result = logits.clone()
        result[:, model.voken_ids[0]] += 100
        return result

    prompts = [model.prompt(text) for text in TEXTS]
    answering = Answering(model, NucleusSampling(100, p=0.9), Options(rules=[wants_vokens]), None, None)
    answers = answering.write(prompts, [1, 2], new_tokens=12)
    assert not {*model.voken_ids, model.slot_id} & {i for answer in answers for i in answer.ids}
    assert all(answer.features is None and answer.text == answer.description for answer in answers)
    draw_images(text_drawer(source, model.drawing), answers, [1, 2], How(1.0, 2, Sampler.ddim))
    assert all(answer.image is not None for answer in answers if answer.text)


def test_told_text_is_what_lasts_of_the_step_after_the_texts_that_the_context_keeps():
    draw, dog, sea = Part("Draw:", once=True), Part("A  dog."), Part("At the\nsea.")
    item = InterleavedItem("a", (Step((draw, dog), (Part("It runs."),)), Step((draw, sea)), Step((draw,))), past=(Part("Once."),))
    truth = [step.target or () for step in item.steps]
    for context, before in (("none", ""), ("image", ""), ("text", "Once. "), ("both", "Once. ")):
        assert told_text(item, 0, [], Context(context)) == f"{before}A dog."
    assert told_text(item, 1, truth[:1], Context.text) == "Once. A dog. It runs. At the sea."
    assert told_text(item, 2, truth[:2], Context.none) == "Draw:"  # nothing else is told


def test_folder_without_a_text_encoder_is_one_line(interleaved_folder, tmp_path):
    for part in ("vae", "unet", "scheduler"):
        (tmp_path / part).symlink_to(interleaved_folder / "diffusion" / part)
    with pytest.raises(MagicError, match="has no text_encoder; .*set draw_from=vokens"):
        load_text_drawer(DiffusionPart(path=str(tmp_path)), device=torch.device("cpu"), dtype=torch.float32)
