"""CLIP from a folder that ``save_pretrained`` wrote."""

import json
import shutil

import pytest
import torch
from tests.unit.models.growing import GROWING, largest_difference
from transformers import AutoTokenizer, CLIPModel

from magic_cli.models.causal_text import IncrementalTexts
from magic_cli.models.huggingface_clip import load_huggingface
from magic_cli.work import Work

CPU = torch.device("cpu")


def load(folder, dtype=torch.float32):
    return load_huggingface(folder, family="huggingface_clip", device=CPU, dtype=dtype, work=Work())


def test_tower_is_picked_up_when_model_is_clip(clip):
    assert isinstance(clip.open_texts(1), IncrementalTexts)
    assert clip.logit_scale == pytest.approx(100.0, rel=1e-4)


def test_features_equal_transformers_when_texts_are_padded_to_77(clip, tiny_clip_folder):
    model, tokenizer = CLIPModel.from_pretrained(tiny_clip_folder).eval(), AutoTokenizer.from_pretrained(tiny_clip_folder)
    texts = ["A dog runs.", "", "two men", "word " * 90]
    inputs = tokenizer(texts, padding="max_length", max_length=77, truncation=True, return_tensors="pt")
    with torch.inference_mode():
        expected = model.get_text_features(**inputs).pooler_output
    assert torch.allclose(clip.encode_texts(texts), expected, atol=1e-5)


def test_image_features_equal_transformers_when_prepared_by_pil(clip, tiny_clip_folder, images):
    model = CLIPModel.from_pretrained(tiny_clip_folder).eval()
    pixels = clip.image_processor(images=images, return_tensors="pt")["pixel_values"]
    assert pixels.shape == (6, 3, 32, 32)
    with torch.inference_mode():
        expected = model.get_image_features(pixel_values=pixels).pooler_output
    assert torch.allclose(clip.encode_images(images), expected, atol=1e-5)
    one_by_one = torch.cat([clip.encode_images([image]) for image in images])
    assert torch.allclose(one_by_one, expected, atol=1e-5)


def test_tokens_equal_openai_package_when_text_is_english(clip):
    from magic_cli.models.openai_clip import import_clip

    package = import_clip()
    texts = ["A dog's umbrella, isn't it?", "", "café au lait!!", "word " * 90, "Two   MEN\n skateboarding"]
    for ids, row in zip(clip.tokenize(texts), package.tokenize(texts, truncate=True).tolist(), strict=True):
        assert ids == [i for i in row if i][: len(ids)] and len(ids) == sum(i != 0 for i in row)


def test_features_stay_the_same_when_config_has_the_old_end_token(clip, tiny_clip_folder, tmp_path):
    """OpenAI's published configs say eos_token_id 2; transformers then pools at the largest token id."""
    folder = shutil.copytree(tiny_clip_folder, tmp_path / "clip")
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["eos_token_id"] = 2
    (folder / "config.json").write_text(json.dumps(config))
    old = load(folder)
    assert isinstance(old.open_texts(1), IncrementalTexts)
    texts = ["a dog", "a<|endoftext|> cat", ""]
    assert torch.allclose(old.encode_texts(texts), clip.encode_texts(texts), atol=1e-6)
    session = old.open_texts(2)
    assert max(largest_difference(old, session, texts) for texts in GROWING["last_word_rewritten"]) <= 1e-5


def test_tower_is_picked_up_when_weights_are_bfloat16(tiny_clip_folder, clip, images):
    model = load(tiny_clip_folder, torch.bfloat16)
    session = model.open_texts(2)
    assert isinstance(session, IncrementalTexts)
    assert max(largest_difference(model, session, texts) for texts in GROWING["plain_growth"]) < 0.03
    cosine = torch.nn.functional.cosine_similarity(model.encode_images(images), clip.encode_images(images))
    assert model.encode_images(images).dtype == torch.float32 and cosine.min() > 0.99
