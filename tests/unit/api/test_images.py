"""Images from memory are read as files are."""

import io

import numpy as np
import pytest
from PIL import Image

from magic_cli.api.images import from_array, pictures
from magic_cli.data.images import SkippedImage
from magic_cli.errors import MagicError
from magic_cli.image_features.reading import ImageReader, Look


def content(image, kind):
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    image.save(stream, kind, exif=exif)
    return stream.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "I;16", "1"])
def test_picture_is_prepared_as_its_file(mode, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 60_000, (6, 9), dtype=np.uint16)
    image = Image.fromarray(pixels) if mode == "I;16" else Image.fromarray((pixels // 256).astype(np.uint8)).convert(mode)
    file = tmp_path / "a.png"
    file.write_bytes(content(image, "PNG"))
    reader = ImageReader(looks=(Look(np.asarray),))
    with Image.open(file) as opened:
        [in_memory] = reader.read_picture(opened).views
    [from_file] = reader.read(file).views
    assert in_memory.prepared.shape == (9, 6, 3) and (in_memory.prepared == from_file.prepared).all()


def test_picture_is_left_as_it_is_and_known_by_its_pixels():
    image = Image.new("RGB", (5, 4), (1, 2, 3))
    reader = ImageReader()
    digests = [reader.read_picture(one).digest for one in (image, image.copy(), Image.new("RGB", (4, 5), (1, 2, 3)))]
    assert digests[0] == digests[1] != digests[2]
    assert image.size == (5, 4) and image.getpixel((0, 0)) == (1, 2, 3)
    with pytest.raises(SkippedImage):
        ImageReader(skip_greyscale=True).read_picture(image.convert("L"))


def test_array_forms_are_images():
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    for array in (grey, grey[..., None], np.stack([grey] * 3, -1), grey / 255):
        assert np.asarray(from_array(array).convert("RGB"))[..., 0].tolist() == grey.tolist()
    assert from_array(np.zeros((3, 4, 4), np.uint8)).mode == "RGBA"
    for bad in (np.zeros((3, 3), np.int64), np.zeros((0, 4), np.uint8), np.full((3, 3), np.nan), np.array("x")):
        with pytest.raises(MagicError, match="images: "):
            from_array(bad)


def test_names_are_those_of_a_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    found = pictures(["a.jpg", "sub/a.jpg", tmp_path / "b.jpg", np.zeros((3, 3), np.uint8)])
    assert [one.id for one in found] == ["a.jpg", "sub/a.jpg", "b.jpg", "image-4"]
    assert [one.name for one in found] == ["a.jpg", "a.jpg", "b.jpg", ""]
    assert [one.id for one in pictures({"x": "a.jpg", 7: np.zeros((3, 3), np.uint8)})] == ["x", "7"]
