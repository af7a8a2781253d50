"""OpenCLIP models from a local folder: the incremental tower where the model is CLIP's kind, the plain path elsewhere."""

import json
import shutil

import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file

from magic_cli.models.faults import ModelFault
from magic_cli.models.image_text.causal_text import IncrementalTexts
from magic_cli.models.image_text.image_text_model import PlainTexts
from magic_cli.models.image_text.open_clip_model import load_open_clip
from magic_cli.models.work_counter import WorkCounter
from tests.model_folders import with_nan, with_prefix, without, write_weights
from tests.tiny_models import randomise
from tests.unit.models.growing import GROWING, largest_difference

TEXTS = ["A dog runs.", "", "two men", "word " * 90]
VISION = {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16}
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2}

# name: (whether the tower is of CLIP's kind, model config)
MODELS = {
    "clip": (True, {"embed_dim": 32, "vision_cfg": VISION, "text_cfg": TEXT}),
    "quick_gelu": (True, {"embed_dim": 32, "quick_gelu": True, "vision_cfg": VISION, "text_cfg": TEXT}),
    "layer_scale": (True, {"embed_dim": 32, "vision_cfg": VISION, "text_cfg": {**TEXT, "ls_init_value": 0.5}}),
    "custom_text": (True, {"embed_dim": 32, "custom_text": True, "vision_cfg": VISION, "text_cfg": TEXT}),
    "linear_projection_with_bias": (
        True, {"embed_dim": 32, "custom_text": True, "vision_cfg": VISION, "text_cfg": {**TEXT, "proj_bias": True}},
    ),
    "not_causal": (
        False, {"embed_dim": 32, "custom_text": True, "vision_cfg": VISION, "text_cfg": {**TEXT, "no_causal_mask": True}},
    ),
    "last_token_pooled": (
        False, {"embed_dim": 32, "custom_text": True, "vision_cfg": VISION, "text_cfg": {**TEXT, "pool_type": "last"}},
    ),
    "class_token": (
        False, {"embed_dim": 32, "custom_text": True, "vision_cfg": VISION, "text_cfg": {**TEXT, "embed_cls": True, "pad_id": 0}},
    ),
}  # fmt: skip
each_model = pytest.mark.parametrize("name", MODELS)


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory):
    """Folder with ``open_clip_config.json`` and weights of a named model."""
    folders = {}

    def make(name):
        if name not in folders:
            folder = tmp_path_factory.mktemp(name)
            config = MODELS[name][1]
            preprocess = {"mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28], "interpolation": "bicubic"}
            (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
            custom = config.get("custom_text", False)
            kind = open_clip.model.CustomTextCLIP if custom else open_clip.model.CLIP
            model = randomise(kind(**{key: value for key, value in config.items() if key != "custom_text"}), seed=5, spread=0.2)
            weights = {key: tensor.contiguous() for key, tensor in model.state_dict().items()}
            save_file(weights, folder / "open_clip_model.safetensors")
            folders[name] = folder
        return folders[name]

    return make


def load(folder, dtype=torch.float32):
    return load_open_clip(str(folder), pretrained=None, device=torch.device("cpu"), dtype=dtype, work=WorkCounter())


@each_model
def test_tower_is_picked_up_when_it_is_of_clips_kind(folder_of, name):
    session = load(folder_of(name)).open_texts(1)
    assert isinstance(session, IncrementalTexts if MODELS[name][0] else PlainTexts)


@each_model
def test_features_equal_own_encoder_when_text_changes(folder_of, name):
    model = load(folder_of(name))
    session = model.open_texts(2)
    for texts in [texts for steps in GROWING.values() for texts in steps]:
        assert largest_difference(model, session, texts) <= 1e-5


@torch.inference_mode()
@pytest.mark.parametrize("name", ["clip", "custom_text", "not_causal"])
def test_features_equal_package_when_model_is_loaded(folder_of, images, name):
    original, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder_of(name)}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder_of(name)}")
    model, original = load(folder_of(name)), original.eval()
    assert torch.allclose(model.encode_texts(TEXTS), original.encode_text(tokenizer(TEXTS)), atol=1e-5)
    expected = original.encode_image(torch.stack([preprocess(image) for image in images]))
    assert torch.allclose(model.encode_images(images), expected, atol=1e-5)
    assert model.logit_scale == pytest.approx(original.logit_scale.exp().item())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["clip", "not_causal"])
def test_features_stay_close_when_weights_are_half_as_wide(folder_of, images, name, dtype):
    model, half = load(folder_of(name)), load(folder_of(name), dtype)
    cosine = torch.nn.functional.cosine_similarity
    assert cosine(half.encode_texts(TEXTS), model.encode_texts(TEXTS)).min() > 0.99
    assert cosine(half.encode_images(images), model.encode_images(images)).min() > 0.99
    assert isinstance(half.open_texts(1), IncrementalTexts if MODELS[name][0] else PlainTexts)


def test_weights_are_required_when_architecture_has_no_tag():
    with pytest.raises(Exception, match="(?i)pretrained"):
        load_open_clip("ViT-B-32", pretrained=None, device=torch.device("cpu"), dtype=torch.float32, work=WorkCounter())


@pytest.mark.parametrize(
    ("change", "topic", "text", "remedy"),
    [
        (
            without("transformer.resblocks.1."),
            "weights",
            "12 of its weights are not in its files: transformer.resblocks.1.ln_1.weight",
            "complete",
        ),
        (with_prefix("_orig_mod."), "weights", "of its weights are not in its files: positional_embedding", "'_orig_mod.'"),
        (lambda weights: weights | {"loss.w": torch.ones(1)}, "weights", "has no place: loss.w", "without them"),
        (
            lambda weights: weights | {"ln_final.weight": torch.ones(7)},
            "weights",
            "ln_final.weight is (7) in its files and (64) by its config.json",
            "config.json",
        ),
        (with_nan("text_projection"), "numbers", "NaN or infinity in text_projection", "checkpoint"),
    ],
    ids=["layer", "prefix", "left_over", "shape", "nan"],
)
def test_folder_with_other_weights_is_refused_by_name(folder_of, tmp_path, change, topic, text, remedy):
    shutil.copy(folder_of("clip") / "open_clip_config.json", tmp_path)
    write_weights(tmp_path / "open_clip_model.safetensors", change(load_file(folder_of("clip") / "open_clip_model.safetensors")))
    with pytest.raises(ModelFault) as refused:
        load(tmp_path)
    fault = refused.value.faults[0]
    assert fault.topic == topic and text in fault.text and remedy in fault.remedy
