"""From read images to features: each encoded once, kept, and the same to the bit when they come from the cache."""

import pytest
import torch

from magic_cli.data.images import UnreadableImage
from magic_cli.image_features.encoding import connect
from magic_cli.image_features.reading import ImageReader
from magic_cli.models.work_counter import WorkCounter

FACTS = {"family": "huggingface_clip", "files": {"model.safetensors": "ab"}}


@pytest.fixture
def connected(clip, tmp_path, monkeypatch):
    """Connect the tiny CLIP, with new counts: ``(reader, encoder)``."""

    def make(cache=tmp_path / "cache"):
        monkeypatch.setattr(clip, "work", WorkCounter())
        return connect(ImageReader(), clip, FACTS, device=torch.device("cpu"), dtype=torch.float32, cache=cache)

    return make


@pytest.fixture
def files(tiny_photos):
    return sorted(tiny_photos.iterdir())


def test_features_equal_the_model_s_own_also_from_the_cache(connected, clip, files, images):
    expected = clip.encode_images(images)
    for counts in ({"images_encoded": 6, "images_cached": 0}, {"images_encoded": 0, "images_cached": 6}):
        reader, encoder = connected()
        assert torch.equal(torch.stack(encoder.encode([reader.read(file) for file in files])), expected)
        assert dict(clip.work.counts) == counts


def test_image_is_encoded_once_when_it_was_read_before_its_twin_was_kept(connected, clip, files):
    reader, encoder = connected()
    first, second = [reader.read(files[0]), reader.read(files[0])], [reader.read(files[0]), reader.read(files[1])]
    features = encoder.encode(first) + encoder.encode(second)
    assert torch.equal(features[0], features[1]) and torch.equal(features[0], features[2])
    assert dict(clip.work.counts) == {"images_encoded": 2, "images_cached": 1}


def test_nothing_is_written_without_a_cache(connected, files, tmp_path):
    reader, encoder = connected(cache=None)
    assert len(encoder.encode([reader.read(file) for file in files])) == 6
    assert list(tmp_path.iterdir()) == []


def test_odd_image_fails_alone_and_the_others_are_kept(connected, clip, files, monkeypatch):
    reader, encoder = connected()
    read = [reader.read(file) for file in files]
    odd, embed = read[2].views[0].prepared, clip.embed_images

    def picky(prepared):
        if any(image is odd for image in prepared):
            raise ValueError("cannot")
        return embed(prepared)

    monkeypatch.setattr(clip, "embed_images", picky)
    features = encoder.encode(read)
    assert [isinstance(feature, UnreadableImage) for feature in features] == [False, False, True, False, False, False]
    assert str(features[2]) == "the image-text model cannot take it (ValueError: cannot)"
    reader, _ = connected()
    assert [reader.read(file).views[0].feature is None for file in files] == [False, False, True, False, False, False]


def test_death_of_a_reading_process_is_no_fault_of_the_image(connected, clip, files, monkeypatch):
    reader, encoder = connected()

    def interrupted(prepared):
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")

    monkeypatch.setattr(clip, "embed_images", interrupted)
    with pytest.raises(RuntimeError, match="worker"):
        encoder.encode([reader.read(file) for file in files])
