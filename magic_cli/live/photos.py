"""Checks the photo that a visitor dropped: accepted if it can be captioned, else refused with one line."""

from __future__ import annotations

from pathlib import Path

from magic_cli.data.images import UnreadableImage, open_image

_KINDS = "JPEG, PNG, WebP, GIF, BMP or TIFF"


def check_photo(photo: Path, *, max_megabytes: int, max_megapixels: int) -> None:
    """Refuse a file that is not an image, is damaged, or is too large; of a large one only the first bytes are read.

    Args:
        photo: The file.
        max_megabytes: The largest file that is accepted.
        max_megapixels: The largest image that is accepted.

    Raises:
        UnreadableImage: One line for the visitor.
    """
    from PIL import Image, UnidentifiedImageError

    megabytes = photo.stat().st_size / 1e6
    if megabytes > max_megabytes:
        raise UnreadableImage(
            f"{photo.name} has {megabytes:.0f} MB, and this page takes at most {max_megabytes}; make it smaller"
        )
    try:
        with Image.open(photo) as image:
            megapixels = image.width * image.height / 1e6
    except UnidentifiedImageError:
        raise UnreadableImage(f"{photo.name} is not an image; drop a photo: {_KINDS}") from None
    except Image.DecompressionBombError:
        megapixels = float("inf")
    except Exception as error:  # readers of damaged files raise almost any error
        raise UnreadableImage(f"{photo.name} is damaged ({error}); save it again, or drop another photo") from error
    if megapixels > max_megapixels:
        has = "too many" if megapixels == float("inf") else f"{megapixels:.0f}"
        raise UnreadableImage(
            f"{photo.name} has {has} megapixels, and this page takes at most {max_megapixels}; make it smaller, or caption it with `magic caption --image`"
        )
    try:
        open_image(photo)
    except UnreadableImage as reason:
        raise UnreadableImage(f"{photo.name} is damaged ({reason}); save it again, or drop another photo") from reason
