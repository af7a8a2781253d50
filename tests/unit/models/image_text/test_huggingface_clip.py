"""CLIP from a folder that ``save_pretrained`` wrote."""

import json
import shutil

import pytest
import torch
from transformers import AutoTokenizer, CLIPModel

from magic_cli.models.faults import ModelFault
from magic_cli.models.image_text.causal_text import IncrementalTexts
from magic_cli.models.image_text.huggingface_clip import load_huggingface
from magic_cli.models.loading import load_image_text_model
from magic_cli.models.settings import Family, ImageTextModelSettings
from magic_cli.models.work_counter import WorkCounter
from tests.model_folders import copy_with, remove_tokenizer, with_nan, with_prefix, without
from tests.unit.models.growing import GROWING, largest_difference

CPU = torch.device("cpu")


def load(folder, dtype=torch.float32):
    return load_huggingface(folder, family="huggingface_clip", device=CPU, dtype=dtype, work=WorkCounter())


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
    from magic_cli.models.image_text.openai_clip import import_clip

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


@pytest.mark.parametrize(
    ("change", "topic", "text"),
    [
        (
            without("text_model."),
            "weights",
            "52 of the 94 weights of CLIPModel are not in its files: text_model.embeddings.token_embedding.weight",
        ),
        (without("logit_scale"), "weights", "1 of the 94 weights of CLIPModel are not in its files: logit_scale"),
        (with_prefix("teacher."), "weights", "94 of the 94"),
        (with_nan("visual_projection.weight"), "numbers", "NaN or infinity in visual_projection.weight"),
    ],
    ids=["no_text_tower", "no_temperature", "unknown_prefix", "nan"],
)
def test_folder_with_other_weights_is_refused(tiny_clip_folder, tmp_path, change, topic, text):
    with pytest.raises(ModelFault) as refused:
        load(copy_with(tiny_clip_folder, tmp_path / "clip", change))
    [fault] = refused.value.faults
    assert fault.topic == topic and text in fault.text


def test_known_prefix_is_taken_off_and_the_rest_is_told(clip, tiny_clip_folder, tmp_path, capsys):
    folder = copy_with(
        tiny_clip_folder, tmp_path / "clip", lambda weights: with_prefix("module.")(weights) | {"loss.w": torch.ones(1)}
    )
    model, facts = load_image_text_model(
        ImageTextModelSettings(path=str(folder)), device=CPU, dtype=torch.float32, work=WorkCounter()
    )
    wanted = CLIPModel.from_pretrained(tiny_clip_folder).state_dict()
    assert all(torch.equal(weight, wanted[name]) for name, weight in model.model.state_dict().items())
    assert torch.allclose(model.encode_texts(["two men"]), clip.encode_texts(["two men"]), atol=1e-5)
    assert (facts["stripped_prefix"], facts["left_over_weights"]) == ("module.", ["loss.w"])
    assert [line.rpartition(": ")[2] for line in capsys.readouterr().err.splitlines()] == [
        "'module.' was taken off the names of its weights",
        "loss.w",
    ]


def test_old_position_ids_are_no_news(tiny_clip_folder, tmp_path):
    ids = {f"{part}_model.embeddings.position_ids": torch.arange(77)[None] for part in ("text", "vision")}
    assert load(copy_with(tiny_clip_folder, tmp_path / "clip", lambda weights: weights | ids)).fit.notes() == []


def test_folder_without_tokenizer_or_of_another_family_is_refused(tiny_clip_folder, tiny_language_model_folder, tmp_path):
    folder = shutil.copytree(tiny_clip_folder, tmp_path / "clip")
    settings = ImageTextModelSettings(path=str(folder), family=Family.siglip)
    with pytest.raises(
        ModelFault,
        match=r"^image_text_model.path=.*/clip: its config.json says model_type 'clip', and 'siglip' is needed; set .*family=huggingface_clip",
    ):
        load_image_text_model(settings, device=CPU, dtype=torch.float32, work=WorkCounter())
    with pytest.raises(ModelFault, match="model_type 'gpt2', and 'clip' is needed; name a model of clip or siglip"):
        load(tiny_language_model_folder)
    remove_tokenizer(folder)
    with pytest.raises(ModelFault, match="no tokenizer in"):
        load(folder)


def test_tokens_beyond_the_embeddings_are_refused(tiny_clip_folder, tmp_path):
    folder = shutil.copytree(tiny_clip_folder, tmp_path / "clip")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<photo>"])
    tokenizer.save_pretrained(folder)
    with pytest.raises(
        ModelFault, match=f"the model has {len(tokenizer) - 1} embeddings, and none for its tokenizer's '<photo>'"
    ):
        load(folder)


def test_numbers_too_large_for_float16_are_refused_when_they_are_made_narrow(tiny_clip_folder, tmp_path):
    def change(weights):
        return weights | {"text_projection.weight": weights["text_projection.weight"] * 1e6}

    settings = ImageTextModelSettings(path=str(copy_with(tiny_clip_folder, tmp_path / "clip", change)))
    load_image_text_model(settings, device=CPU, dtype=torch.float32, work=WorkCounter())
    with pytest.raises(ModelFault, match="NaN or infinity in text_projection.weight; load it with run.dtype=float32"):
        load_image_text_model(settings, device=CPU, dtype=torch.float16, work=WorkCounter())
