"""CLIP-I, CLIP-T, FID, story FID, Inception Score and MM-Relevance: against twins, torchmetrics, and hand-built cases."""

from pathlib import Path

import numpy as np
import pytest
import torch

from magic_cli.data.answers import Answer
from magic_cli.errors import MagicError, SettingsError
from magic_cli.metrics.base import MetricUnavailable
from magic_cli.metrics.clip_similarity import ClipI, ClipT
from magic_cli.metrics.frechet import Fid, FidImageText, FidTorchvision, StoryFidImageText, frechet_distance
from magic_cli.metrics.image_networks import NetworkFeatures
from magic_cli.metrics.image_text import ImageTextFeatures
from magic_cli.metrics.inception_score import InceptionScore, inception_score
from magic_cli.metrics.java.process import num_kills
from magic_cli.metrics.mm_relevance import MmRelevanceMiniGpt5, MmRelevanceMmDialog
from magic_cli.metrics.statistics import Resampler
from tests.reference import answers as reference
from tests.reference.answers import corpus_of_answers, made_dialogues
from tests.reference.metrics import cosine


@pytest.fixture(scope="module")
def photos(tiny_photos):
    return sorted(tiny_photos.iterdir())


def connected(metric, model, name="tiny clip"):
    metric.connect(ImageTextFeatures(lambda: model, name=name))
    return metric


def noisy(shape, seed, shift=0.0):
    return np.random.default_rng(seed).normal(shift, 1, shape)


def test_clip_similarities_are_raw_cosines_of_pairs(photos, loaded_clip, images):
    items = [
        [Answer(image=photos[0], true_image=photos[1], description="a red disc"), Answer(image=photos[2])],
        [Answer(image=photos[3], true_image=photos[3])],
        [Answer("no image")],
    ]
    vectors = loaded_clip.encode_images(images)
    [[scores]] = connected(ClipI(), loaded_clip).score([corpus_of_answers(*items)])
    near = cosine(vectors[0], vectors[1])
    assert (
        scores.per_item[:2] == pytest.approx([near, 1], abs=1e-5)
        and np.isnan(scores.per_item[2])
        and scores.overall == pytest.approx((near + 1) / 2, abs=1e-5)
    )
    [[scores]] = connected(ClipT(), loaded_clip).score([corpus_of_answers(*items)])
    assert scores.overall == pytest.approx(cosine(vectors[0], loaded_clip.encode_texts(["a red disc"])[0]), abs=1e-5)


@pytest.mark.parametrize(("num_true", "num_drawn", "size"), [(40, 30, 8), (300, 200, 8), (12, 9, 32), (5, 5, 64)])
def test_distance_equals_torchmetrics_and_the_plain_formula(num_true, num_drawn, size):
    from torchmetrics.image.fid import FrechetInceptionDistance

    class Same(torch.nn.Module):
        num_features = size

        def forward(self, features):
            return features

    true, drawn = noisy((num_true, size), 1), noisy((num_drawn, size), 2, 0.3) * 1.5
    metric = FrechetInceptionDistance(feature=Same(), normalize=True)
    metric.update(torch.from_numpy(true), real=True)
    metric.update(torch.from_numpy(drawn), real=False)
    found = frechet_distance(true, drawn)
    assert found == pytest.approx(metric.compute().item(), rel=1e-4)
    assert found == pytest.approx(reference.frechet_distance(true, drawn), rel=1e-4)


def test_distance_is_0_of_equal_images_and_rises_with_noise():
    true = noisy((60, 12), 1)
    assert frechet_distance(true, true) < 1e-3
    distances = [frechet_distance(true, true + strength * noisy(true.shape, 2)) for strength in (0, 0.1, 0.3, 1, 3)]
    assert distances == sorted(distances) and distances[-1] > 10


def test_distance_of_weighted_images_is_that_of_repeated_ones():
    true, drawn, counts = noisy((9, 4), 1), noisy((9, 4), 2), np.array([0, 1, 3, 2, 0, 1, 1, 4, 1])
    repeated = frechet_distance(np.repeat(true, counts, axis=0), np.repeat(drawn, counts, axis=0))
    assert frechet_distance(true, drawn, counts.astype(float), counts.astype(float)) == pytest.approx(repeated, rel=1e-9)


class Painted:
    """An image-text model of the mean colours of images, and of a few more numbers."""

    def encode_images(self, images):
        return torch.tensor(
            np.array([np.asarray(image.resize((2, 2))).ravel()[:6] / 40 + 0.1 for image in images]), dtype=torch.float32
        )


@pytest.fixture(scope="module")
def drawings(tmp_path_factory):
    """24 true images and, for each, one much like it and one unlike it."""
    from PIL import Image

    folder, rng = tmp_path_factory.mktemp("drawings"), np.random.default_rng(0)
    found = []
    for number in range(24):
        colour = rng.integers(30, 220, (4, 4, 3))
        paths = []
        for name, noise in (("true", 0), ("near", 12), ("far", 110)):
            paths.append(folder / f"{name}-{number}.png")
            Image.fromarray((colour + rng.normal(0, noise, colour.shape)).clip(0, 255).astype(np.uint8)).save(paths[-1])
        found.append(paths)
    return found


def corpora_of(drawings, per_item=3):
    rows = [[drawings[i : i + per_item] for i in range(0, len(drawings), per_item)] for _ in (1, 2)]
    return [
        corpus_of_answers(*[[Answer(image=paths[kind], true_image=paths[0]) for paths in item] for item in items], name=name)
        for items, kind, name in ((rows[0], 1, "near"), (rows[1], 2, "far"))
    ]


def test_fid_of_a_model_has_its_name_and_an_interval(drawings):
    near, far = connected(FidImageText(), Painted(), "openai/CLIP-ViT-B/32").score(corpora_of(drawings))
    assert near[0].measure.key == "fid_openai_clip_vit_b_32" and near[0].measure.label == "FID (openai/CLIP-ViT-B/32)"
    assert 0 < near[0].overall < far[0].overall and not near[0].measure.higher_is_better
    resampler = Resampler(8, samples=200, seed=0)
    [interval] = resampler.intervals(near, 0.95)
    assert (
        near[0].overall / 2 < interval.low < interval.high < far[0].overall
    )  # resamples lie above: images that repeat are fewer images
    [compared] = resampler.comparisons(far, near, 0.95)
    assert compared.difference == pytest.approx(far[0].overall - near[0].overall) and compared.low > 0 and compared.p_value < 0.05


def test_resampled_distance_is_that_of_the_drawn_items(drawings):
    near, far = corpora_of(drawings)
    [[scores], [other]] = connected(FidImageText(), Painted()).score([near, far])
    counts = np.array([[0, 2, 1, 0, 3, 1, 0, 1.0]])
    rows = [row for row, count in enumerate(counts[0]) for _ in range(int(count))]
    images = [[paths[kind] for row in rows for paths in drawings[3 * row : 3 * row + 3]] for kind in (0, 2)]
    features = ImageTextFeatures(Painted)
    true, drawn = (features.of_images(files, kills=num_kills()) for files in images)
    assert other.resample(counts)[0] == pytest.approx(frechet_distance(true, drawn), rel=1e-6)
    swapped = other.statistics.sum(axis=0)  # the first item of the two systems change places
    swapped[[0, 8]] = swapped[[8, 0]]
    mixed = [drawings[i][1 if i < 3 else 2] for i in range(24)]
    true, drawn = (
        features.of_images([paths[0] for paths in drawings], kills=num_kills()),
        features.of_images(mixed, kills=num_kills()),
    )
    assert other.combine(swapped[None])[0] == pytest.approx(frechet_distance(true, drawn), rel=1e-6)


def test_story_fid_is_the_mean_over_stories_and_refuses_unequal_groups(drawings):
    [corpus, _] = corpora_of(drawings)
    [[scores]] = connected(StoryFidImageText(), Painted()).score([corpus])
    features = ImageTextFeatures(Painted)
    first = [features.of_images([paths[kind] for paths in drawings[:3]], kills=num_kills()) for kind in (0, 1)]
    assert scores.per_item[0] == pytest.approx(frechet_distance(*first)) and scores.overall == pytest.approx(
        scores.per_item.mean()
    )
    broken = [Answer(image=drawings[0][1], true_image=drawings[0][0]), Answer(true_image=drawings[1][0])]
    with pytest.raises(MetricUnavailable, match="as many drawn as true images of each story: item-1 of made has 1 and 2"):
        connected(StoryFidImageText(), Painted()).score([corpus_of_answers(corpus.answers[0], broken)])
    with pytest.raises(
        MetricUnavailable, match="compares the images of a story, two or more of each kind: no story of made has them"
    ):
        connected(StoryFidImageText(), Painted()).score([corpus_of_answers(broken[:1])])


def test_fid_of_one_image_is_refused(drawings):
    with pytest.raises(MetricUnavailable, match="made has 1 drawn ones with true ones, and 2 are the fewest"):
        connected(FidImageText(), Painted()).score([corpus_of_answers([Answer(image=drawings[0][1], true_image=drawings[0][0])])])


@pytest.mark.parametrize(("number", "splits"), [(30, 10), (23, 10), (4, 1), (3, 10)])
def test_inception_score_equals_torchmetrics_and_the_plain_formula(number, splits):
    from torchmetrics.image.inception import InceptionScore as Library

    logits = noisy((number, 7), 3) * 4
    library = Library(feature=torch.nn.Identity(), splits=splits)
    library.update(torch.from_numpy(logits))
    with torch.random.fork_rng():
        torch.manual_seed(42)
        expected = library.compute()[0].item()
    order = torch.randperm(number, generator=torch.Generator().manual_seed(42)).numpy()
    assert inception_score(logits, order, splits) == pytest.approx(expected, rel=1e-9)
    assert inception_score(logits, np.arange(number), splits) == pytest.approx(
        reference.inception_score(logits.tolist(), splits), rel=1e-9
    )


def test_inception_score_reaches_its_bounds():
    assert inception_score(np.zeros((20, 5)), np.arange(20), 1) == pytest.approx(1)
    assert inception_score(np.eye(5) * 1000, np.arange(5), 1) == pytest.approx(5)


class Cube:
    """A network that sees one colour, or too little."""

    def features(self, images):
        return torch.tensor([[np.asarray(image)[..., channel].mean() + 1 for channel in range(3)] for image in images])

    logits = features


def test_network_is_loaded_once_and_looks_at_each_image_once(drawings, tmp_path):
    (tmp_path / "w.pth").write_bytes(b"")
    loads, seen = [], []

    class Counting(Cube):
        def features(self, images):
            seen.extend(images)
            return super().features(images)

    network = NetworkFeatures(lambda: loads.append(1) or (Counting(), {"network": "cube"}))
    corpus = corpora_of(drawings)[0]
    for metric in (Fid(weights=str(tmp_path / "w.pth")), InceptionScore(weights=str(tmp_path / "w.pth"))):
        metric.connect(network)
        [[scores]] = metric.score([corpus])
        assert scores.measure.low <= scores.overall <= scores.measure.high and metric.facts()["network"] == "cube"
    assert len(loads) == 1 and len(seen) == 48


def test_weights_are_asked_for_by_name(tmp_path):
    corpus = corpus_of_answers([Answer(image=Path("a.png"), true_image=Path("b.png"))])
    with pytest.raises(
        MetricUnavailable, match=r"fid needs the weights of the Inception network of 2015 .*: metrics.fid.weights=FILE"
    ):
        Fid().score([corpus])
    with pytest.raises(MetricUnavailable, match=r"fid_torchvision_inception_v3 needs the weights of torchvision's Inception v3"):
        FidTorchvision().require([corpus])
    with pytest.raises(SettingsError, match="metrics.inception_score.weights=none.pth: no such file"):
        InceptionScore(weights="none.pth")
    with pytest.raises(SettingsError, match="metrics.inception_score.splits must be at least 1"):
        InceptionScore(splits=0)


class NamedFeatures(ImageTextFeatures):
    """Features by the names of files."""

    def __init__(self, vectors):
        super().__init__(lambda: None)
        self.vectors = vectors

    def of_images(self, files, *, kills):
        return np.array([self.vectors[file.name] for file in files])

    of_texts = staticmethod(lambda texts, *, kills: None)


@pytest.fixture
def elements():
    features = NamedFeatures({"i": [1.0, 0], "j": [0.6, 0.8]})
    features.of_texts = lambda texts, *, kills: np.array(
        [{"t": [1.0, 0], "u": [0.8, 0.6], "v": [0.0, 1.0]}[text] for text in texts]
    )
    return features


def relevance(metric, features, *items):
    metric.connect(features)
    [[scores]] = metric.score([corpus_of_answers(*items)])
    return scores.per_item.tolist()


def test_minigpt5_relevance_on_hand_built_dialogues(elements):
    i, j = Path("i"), Path("j")
    cases = [
        ([Answer("t", i, "t", i)], 1.0),  # perfect
        ([Answer("t", None, "t", i)], 2 * 1 * 0.5 / 1.5),  # an image is missing: recall halves
        ([Answer("t", i, "t", None)], 2 * 0.5 * 1 / 1.5),  # an image is made up: precision halves
        ([Answer("u", i, "t", j), Answer("", None, "v", None)], 2 * (1.4 / 2) * (1.4 / 3) / (1.4 / 2 + 1.4 / 3)),
        ([Answer("", None, "t", i)], 0.0),
        ([Answer("v", None, "t", None)], 0.0),  # at right angles
        ([Answer("...", None, "t", i)], 0.0),
    ]
    assert relevance(MmRelevanceMiniGpt5(), elements, *(item for item, _ in cases)) == pytest.approx(
        [value for _, value in cases]
    )


def test_mmdialog_relevance_pairs_by_position_across_kinds(elements):
    i = Path("i")
    cases = [
        ([Answer("t", i, "t", i)], 1.0),
        ([Answer("", i, "u", None)], 0.8),  # an image beside a text
        ([Answer("t", None, "t", i)], 2 * 1 * 0.5 / 1.5),
        ([Answer("t", i, "t", None)], 2 * 0.5 * 1 / 1.5),
        ([Answer("t", None, "t", None), Answer("", None, "t", i)], 0.5),  # the mean over responses
    ]
    assert relevance(MmRelevanceMmDialog(), elements, *(item for item, _ in cases)) == pytest.approx(
        [value for _, value in cases]
    )
    assert relevance(MmRelevanceMiniGpt5(), elements, cases[1][0]) == [0.0]  # which keeps kinds apart


@pytest.mark.parametrize("seed", range(8))
def test_minigpt5_relevance_equals_twin(seed, photos, loaded_clip, images):
    dialogues = made_dialogues(seed, photos)
    vectors = dict(zip(photos, loaded_clip.encode_images(images), strict=True))

    def between(written, true):
        a, b = (
            vectors[element] if isinstance(element, Path) else loaded_clip.encode_texts([element])[0]
            for element in (written, true)
        )
        return cosine(a, b)

    [[scores]] = connected(MmRelevanceMiniGpt5(), loaded_clip).score([corpus_of_answers(*dialogues)])
    assert scores.overall == pytest.approx(reference.mm_relevance_minigpt5(dialogues, between), abs=1e-5)


def test_damaged_image_is_one_line(tmp_path, loaded_clip):
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(MagicError, match="cannot read the image .*a.png"):
        connected(ClipI(), loaded_clip).score(
            [corpus_of_answers([Answer(image=tmp_path / "a.png", true_image=tmp_path / "a.png")])]
        )
