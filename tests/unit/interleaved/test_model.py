import numpy as np
import pytest
import torch
from PIL import Image

from magic_cli.decoding.prompts import Prompt
from magic_cli.errors import MagicError
from magic_cli.interleaved.drawing import prepare_square
from magic_cli.interleaved.settings import Sampler
from magic_cli.interleaved.vision import MEAN, SPREAD, prepare_pixels
from tests.interleaved_models import HIDDEN, SIDE, VECTORS, WIDTH


def noise_image(seed, size=(20, 14)):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (*size[::-1], 3), dtype=np.uint8))


def test_new_rows_are_the_mean_of_the_old_ones_when_added(parts):
    model, rows = parts.language_model, parts.ids.rows
    assert rows.stop - rows.start == 5
    for table in (model.get_input_embeddings(), model.get_output_embeddings()):
        torch.testing.assert_close(table.weight[rows], table.weight[: rows.start].mean(dim=0).expand(5, -1), rtol=0, atol=1e-6)


def test_vokens_are_special_and_one_token_each_when_encoded(interleaved_model):
    language_model = interleaved_model.language_model
    ids = language_model.encode("A dog [IMG0][IMG1][IMG2][IMG3] ran <ImageHere>.")
    assert [i for i in ids if i in interleaved_model.voken_ids] == interleaved_model.voken_ids
    assert interleaved_model.slot_id in ids
    assert "IMG" not in language_model.decode([ids])[0] and "ImageHere" not in language_model.decode([ids])[0]


def test_prompt_holds_the_images_vectors_in_their_places_when_made(interleaved_model):
    vectors = interleaved_model.read_images([interleaved_model.prepare_image(noise_image(seed)) for seed in (0, 1)])
    assert vectors.shape == (2, VECTORS, HIDDEN) and not torch.allclose(vectors[0], vectors[1])
    prompt = interleaved_model.prompt("A dog <ImageHere> and <ImageHere>.", list(vectors))
    places = [place for place, i in enumerate(prompt.ids) if i == interleaved_model.slot_id]
    assert sorted(prompt.vectors) == places and len(places) == 2 * VECTORS
    torch.testing.assert_close(torch.stack([prompt.vectors[place] for place in places]), vectors.flatten(0, 1))
    assert prompt.ids[0] == interleaved_model.language_model.tokenizer.bos_token_id
    with pytest.raises(MagicError, match="1 places for images .* and 2 images"):
        interleaved_model.prompt("A dog <ImageHere>.", list(vectors))


def test_image_changes_what_follows_when_read(interleaved_model):
    vectors = interleaved_model.read_images([interleaved_model.prepare_image(noise_image(seed)) for seed in (0, 1)])
    states = interleaved_model.language_model.prefill([interleaved_model.prompt("A <ImageHere> is", [one]) for one in vectors])
    assert (states.logits[0] - states.logits[1]).abs().max() > 1e-3


def test_pixels_are_scaled_cut_and_normalised_when_prepared():
    image = Image.new("RGB", (40, 20), (255, 0, 0))
    image.paste((0, 255, 0), (0, 0, 8, 20))  # cut off on the left
    pixels = prepare_pixels(image, 10)
    expected = (np.array([1, 0, 0], dtype=np.float32) - MEAN) / SPREAD
    np.testing.assert_allclose(pixels, np.broadcast_to(expected[:, None, None], (3, 10, 10)), rtol=1e-6, atol=1e-6)
    square = prepare_square(Image.new("RGB", (8, 4), (0, 0, 0)), 8)
    assert square[:, :2].min() == 1 and square[:, 2:6].max() == -1 and square[:, 6:].min() == 1


def test_mapper_maps_each_image_by_itself_when_batched(interleaved_model):
    features = torch.randn(3, 4, HIDDEN)
    conditions = interleaved_model.conditions(features)
    assert conditions.shape == (3, 6, WIDTH)
    torch.testing.assert_close(conditions[1:2], interleaved_model.conditions(features[1:2]), rtol=0, atol=1e-5)
    torch.testing.assert_close(
        interleaved_model.conditions(torch.zeros(1, 4, HIDDEN)), interleaved_model.mapper.unconditional(), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("sampler", Sampler)
def test_each_image_is_its_own_when_drawn_in_any_batch(interleaved_model, sampler):
    drawing, mapper = interleaved_model.drawing, interleaved_model.mapper
    conditions = interleaved_model.conditions(torch.randn(3, 4, HIDDEN, generator=torch.Generator().manual_seed(0)))
    options = {"guidance": 3.0, "steps": 4, "sampler": sampler}

    def draw(rows):
        generators = [torch.Generator().manual_seed(10 + row) for row in rows]
        return drawing.draw(conditions[list(rows)], mapper.unconditional(), generators, **options)

    together = draw((0, 1, 2))
    assert together.shape == (3, 3, SIDE, SIDE) and together.min() >= 0 and together.max() <= 1
    torch.testing.assert_close(draw((2, 0)), together[[2, 0]], rtol=0, atol=1e-4)
    assert (together[0] - together[1]).abs().max() > 0.01


def test_guidance_of_one_is_the_conditional_branch_alone_when_drawn(interleaved_model):
    drawing = interleaved_model.drawing
    conditions = interleaved_model.conditions(torch.randn(2, 4, HIDDEN, generator=torch.Generator().manual_seed(0)))

    def draw(unconditional, guidance):
        return drawing.draw(
            conditions, unconditional, [torch.Generator().manual_seed(i) for i in (0, 1)], guidance=guidance, steps=4
        )

    own, other = interleaved_model.mapper.unconditional(), torch.randn(1, 6, WIDTH)
    assert torch.equal(draw(own, 1.0), draw(other, 1.0))
    assert not torch.allclose(draw(own, 3.0), draw(own, 1.0), atol=1e-3)
    assert not torch.allclose(draw(own, 3.0), draw(other, 3.0), atol=1e-3)


def test_draw_gives_images_of_the_models_size_when_asked(interleaved_model):
    images = interleaved_model.draw(torch.randn(2, 4, HIDDEN), [1, 2], guidance=2.0, steps=2)
    assert [image.size for image in images] == [(SIDE, SIDE)] * 2


def test_prompt_is_read_by_the_core_when_it_holds_vectors(interleaved_model):
    vectors = interleaved_model.read_images([interleaved_model.prepare_image(noise_image(0))])
    prompt = interleaved_model.prompt("A <ImageHere> is", list(vectors))
    assert isinstance(prompt, Prompt)
    assert interleaved_model.language_model.prefill([prompt]).hidden.shape[1] == len(prompt.ids)
