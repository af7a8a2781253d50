"""Images of every kind that people have."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from magic_cli.data.images import SkippedImage, UnreadableImage, open_image, thumbnail


@pytest.fixture
def photo():
    ramp = np.linspace(0, 255, 64, dtype=np.uint8)
    return Image.fromarray(
        np.stack([np.tile(ramp, (48, 1)), np.tile(ramp[::-1], (48, 1)), np.full((48, 64), 90, np.uint8)], axis=-1)
    )


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("rgb.jpg", lambda im: im), ("grey.jpg", lambda im: im.convert("L")), ("cmyk.jpg", lambda im: im.convert("CMYK")),
        ("palette.png", lambda im: im.convert("P")), ("alpha.png", lambda im: im.convert("RGBA")), ("la.png", lambda im: im.convert("LA")),
        ("bits.png", lambda im: im.convert("1")), ("web.webp", lambda im: im), ("old.bmp", lambda im: im), ("anim.gif", lambda im: im),
        ("scan.tif", lambda im: im),
    ],
)  # fmt: skip
def test_image_becomes_rgb_of_the_same_size(photo, tmp_path, name, change):
    change(photo).save(tmp_path / name)
    image = open_image(tmp_path / name)
    assert (image.mode, image.size) == ("RGB", (64, 48))
    assert np.asarray(image).std() > 10, "the picture is still there"


def test_sixteen_bit_grey_keeps_its_tones(tmp_path):
    ramp = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (48, 1))
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    values = np.asarray(open_image(tmp_path / "deep.png"))[0, :, 0].astype(int)
    assert values[0] == 0 and values[-1] == 255
    assert abs(values[32] - 65535 * 32 / 63 / 257) <= 1


def test_photo_is_turned_upright_when_exif_says_so(photo, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # camera held upright: stored on its side
    photo.save(tmp_path / "turned.jpg", exif=exif)
    assert open_image(tmp_path / "turned.jpg").size == (48, 64)
    assert open_image(tmp_path / "turned.jpg", apply_exif_orientation=False).size == (64, 48)


def test_faint_sixteen_bit_grey_stays_faint(tmp_path):
    Image.fromarray(np.full((8, 8), 200, dtype=np.uint16)).save(tmp_path / "faint.png")
    assert open_image(tmp_path / "faint.png").getpixel((0, 0)) == (1, 1, 1)


def test_float_image_from_zero_to_one_keeps_its_tones(tmp_path):
    Image.fromarray(np.tile(np.linspace(0, 1, 64, dtype=np.float32), (8, 1))).save(tmp_path / "float.tif")
    values = np.asarray(open_image(tmp_path / "float.tif"))[0, :, 0]
    assert (values[0], values[-1]) == (0, 255)


def test_very_long_image_is_refused_before_it_takes_all_memory(tmp_path):
    Image.new("RGB", (20000, 1)).save(tmp_path / "line.png")
    with pytest.raises(UnreadableImage, match="20000 x 1 pixels"):
        open_image(tmp_path / "line.png")


def test_one_pixel_is_an_image(tmp_path):
    Image.new("RGB", (1, 1), (9, 8, 7)).save(tmp_path / "dot.png")
    assert open_image(tmp_path / "dot.png").getpixel((0, 0)) == (9, 8, 7)


def test_greyscale_is_skipped_only_when_asked(photo, tmp_path):
    photo.convert("L").save(tmp_path / "grey.jpg")
    assert open_image(tmp_path / "grey.jpg").mode == "RGB"
    with pytest.raises(SkippedImage, match="skip_greyscale"):
        open_image(tmp_path / "grey.jpg", skip_greyscale=True)


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims to be of any size and holds one row."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("text.jpg", b"this is no picture\n" * 20, "cannot identify"),
        ("empty.jpg", b"", "cannot identify"),
        ("bomb.png", png_header(60000, 60000), "decompression bomb"),
        ("short.png", png_header(64, 48), "truncated"),
    ],
)
def test_file_is_refused_with_its_reason(tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnreadableImage, match=reason) as caught:
        open_image(tmp_path / name)
    assert "\n" not in str(caught.value) and str(tmp_path) not in str(caught.value)


def test_truncated_jpeg_is_refused(photo, tmp_path):
    photo.resize((640, 480)).save(tmp_path / "whole.jpg")
    (tmp_path / "half.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:3000])
    with pytest.raises(UnreadableImage, match="truncated"):
        open_image(tmp_path / "half.jpg")


def test_missing_file_and_folder_are_refused(tmp_path):
    with pytest.raises(UnreadableImage, match="no such file"):
        open_image(tmp_path / "none.jpg")
    (tmp_path / "folder.jpg").mkdir()
    with pytest.raises(UnreadableImage, match="a folder, not an image file"):
        open_image(tmp_path / "folder.jpg")


def test_large_jpeg_is_read_no_larger_than_its_thumbnail_needs(photo, tmp_path):
    large = tmp_path / "large.jpg"
    photo.resize((2000, 1500), Image.Resampling.BICUBIC).save(large, quality=95)
    near = open_image(large, near=200)
    assert near.size == (500, 375)  # an eighth would have fewer than 200 rows
    whole = open_image(large)
    whole.thumbnail((100, 100))
    kind, data = thumbnail(large, side=100, whole_below=65, quality=100, kind="PNG")
    with Image.open(io.BytesIO(data)) as made:
        assert kind == "PNG" and made.size == whole.size
        assert np.abs(np.asarray(made, dtype=float) - np.asarray(whole, dtype=float)).mean() < 2
