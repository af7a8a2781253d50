"""OpenAI's ``clip`` package: a small model of its own class, from the file kinds that users have."""

import pytest
import torch
from safetensors.torch import save_file

from magic_cli.errors import MagicError
from magic_cli.models.faults import ModelFault
from magic_cli.models.image_text.causal_text import IncrementalTexts
from magic_cli.models.image_text.openai_clip import import_clip, load_openai_clip, weights_file
from magic_cli.models.work_counter import WorkCounter
from tests.model_folders import with_nan, with_prefix, without, write_weights
from tests.tiny_models import randomise
from tests.unit.models.growing import GROWING, largest_difference

CPU = torch.device("cpu")
TEXTS = ["A dog runs.", "", "two men", "word " * 90, "a dog<|endoftext|> x"]


def build(**changes):
    """A ``clip.model.CLIP`` small enough for tests (the package derives heads as width / 64)."""
    sizes = {
        "embed_dim": 32, "image_resolution": 32, "vision_layers": 2, "vision_width": 64, "vision_patch_size": 16,
        "context_length": 77, "vocab_size": 49408, "transformer_width": 128, "transformer_heads": 2, "transformer_layers": 2,
    }  # fmt: skip
    model = randomise(import_clip().model.CLIP(**sizes | changes), seed=4, spread=0.15)
    model.logit_scale.data.fill_(4.6052)
    return model


@pytest.fixture(scope="module")
def original():
    return build()


@pytest.fixture(scope="module")
def file(original, tmp_path_factory):
    """The state dict as safetensors."""
    path = tmp_path_factory.mktemp("openai_clip") / "tiny.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in original.state_dict().items()}, path)
    return path


@pytest.fixture(scope="module")
def model(file):
    return load_openai_clip(file, device=CPU, dtype=torch.float32, work=WorkCounter())


def test_tower_is_picked_up_when_model_is_loaded(model):
    assert isinstance(model.open_texts(2), IncrementalTexts)
    assert model.logit_scale == pytest.approx(100.0, rel=1e-4)


@pytest.mark.parametrize("steps", GROWING.values(), ids=GROWING.keys())
def test_features_equal_own_encoder_when_text_changes(model, steps):
    session = model.open_texts(2)
    for texts in steps:
        assert largest_difference(model, session, texts) <= 1e-5


@torch.inference_mode()
def test_features_equal_package_when_model_is_loaded(model, original, images):
    package = import_clip()
    expected = original.encode_text(package.tokenize(TEXTS, truncate=True))
    assert torch.allclose(model.encode_texts(TEXTS), expected, atol=1e-5)
    preprocess = package.clip._transform(32)
    expected = original.encode_image(torch.stack([preprocess(image) for image in images]))
    assert torch.allclose(model.encode_images(images), expected, atol=1e-5)


def test_features_stay_the_same_when_file_is_a_pickled_state_dict(model, original, tmp_path):
    torch.save(original.state_dict(), tmp_path / "tiny.pt")
    other = load_openai_clip(tmp_path / "tiny.pt", device=CPU, dtype=torch.float32, work=WorkCounter())
    assert torch.equal(other.encode_texts(TEXTS), model.encode_texts(TEXTS))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_features_stay_close_when_weights_are_half_as_wide(model, file, images, dtype):
    half = load_openai_clip(file, device=CPU, dtype=dtype, work=WorkCounter())
    cosine = torch.nn.functional.cosine_similarity
    assert cosine(half.encode_texts(TEXTS), model.encode_texts(TEXTS)).min() > 0.99
    assert cosine(half.encode_images(images), model.encode_images(images)).min() > 0.99
    assert isinstance(half.open_texts(1), IncrementalTexts)
    session = half.open_texts(2)
    assert max(largest_difference(half, session, texts) for texts in GROWING["plain_growth"]) < 0.05


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")  # by saving it here
def test_file_is_refused_when_it_is_an_unknown_torchscript_archive(tmp_path):
    class Evil(torch.nn.Module):
        def forward(self, x):
            return x

    torch.jit.script(Evil()).save(str(tmp_path / "ViT-B-32.pt"))
    with pytest.raises(MagicError, match=r"SHA-256 [0-9a-f]{12}\.\.\. is none of OpenAI's published archives") as refused:
        load_openai_clip(tmp_path / "ViT-B-32.pt", device=CPU, dtype=torch.float32, work=WorkCounter())
    assert "\n" not in str(refused.value)


def test_pickle_is_refused_when_it_would_run_code(tmp_path):
    import pickle

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    (tmp_path / "weights.pt").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(MagicError, match="is no plain state dict"):
        load_openai_clip(tmp_path / "weights.pt", device=CPU, dtype=torch.float32, work=WorkCounter())
    assert not (tmp_path / "ran").exists()


def test_name_is_refused_when_package_has_no_such_model():
    with pytest.raises(MagicError, match=r"^image_text_model.name='ViT-B/33' is neither a file nor a model .*ViT-B/32"):
        weights_file("ViT-B/33")


def test_one_line_tells_what_to_do_when_model_cannot_be_downloaded(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(MagicError, match="^image_text_model.name=ViT-B/32: not in .* cannot be downl.*path=FILE") as refused:
        weights_file("ViT-B/32")
    assert "\n" not in str(refused.value)


def changed(file, folder, change):
    """A copy of the file with other weights."""
    from safetensors.torch import load_file

    write_weights(folder / "changed.safetensors", change(load_file(file)))
    return load_openai_clip(folder / "changed.safetensors", device=CPU, dtype=torch.float32, work=WorkCounter())


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (without("transformer.resblocks.0."), "transformer.resblocks.0.ln_1.weight"),
        (
            without("transformer.resblocks.1.mlp.c_fc"),
            "2 of its weights are not in its files: transformer.resblocks.1.mlp.c_fc.weight",
        ),
        (without("text_projection"), "text_projection"),
        (without("visual.ln_post"), "visual.ln_post.weight"),
        (with_prefix("image_text."), "token_embedding.weight"),
        (with_nan("ln_final.weight"), "NaN or infinity in ln_final.weight"),
        (lambda weights: {"x": weights["ln_final.weight"]}, "token_embedding.weight"),
    ],
    ids=["first_layer", "part_of_a_layer", "projection", "norm", "unknown_prefix", "nan", "nothing"],
)
def test_file_with_other_weights_is_refused_by_name(file, tmp_path, change, text):
    with pytest.raises(ModelFault) as refused:
        changed(file, tmp_path, change)
    assert text in refused.value.faults[0].text


def test_known_prefix_is_taken_off_and_other_weights_are_left_over(model, file, tmp_path):
    more = {"loss.weight": torch.ones(2), "module.visual_ema": torch.ones(2)}
    other = changed(file, tmp_path, lambda weights: with_prefix("module._orig_mod.")(weights) | more)
    assert torch.allclose(other.encode_texts(TEXTS), model.encode_texts(TEXTS), atol=1e-5)
    assert other.fit.facts() == {"stripped_prefix": "module._orig_mod.", "left_over_weights": ["loss.weight", "visual_ema"]}


def test_checkpoint_with_the_state_dict_inside_is_read(model, original, tmp_path):
    torch.save({"epoch": 3, "state_dict": with_prefix("module.")(original.state_dict())}, tmp_path / "epoch_3.pt")
    other = load_openai_clip(tmp_path / "epoch_3.pt", device=CPU, dtype=torch.float32, work=WorkCounter())
    assert (
        torch.allclose(other.encode_texts(TEXTS), model.encode_texts(TEXTS), atol=1e-5)
        and other.fit.stripped == "state_dict.module."
    )
