"""Opens image files of all common kinds as upright 8-bit RGB."""

from __future__ import annotations

import base64
import errno
import hashlib
import io
import os
import warnings
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Self

from magic_cli.data.paths import other_kind
from magic_cli.data.place_names import name_of, query_hint

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".jfif", ".ppm", ".avif"})

_LONGEST_SIDES = 100
_PAGE_QUALITY = 80
_NEAR = 2
"""A thumbnail is made of an image at least so many times its size: then one cannot see how it was read."""


def quiet_pillow() -> None:
    """Silence Pillow's warnings (large images, odd metadata); its errors stay. Call it in the main thread."""
    warnings.filterwarnings("ignore", module="PIL")


class UnreadableImage(Exception):
    """An image file that cannot be read; the message is the reason."""


class SkippedImage(UnreadableImage):
    """An image that a setting leaves out."""


class StoredImage:
    """Base of images that are no file of this machine by themselves: they lie inside another file, or elsewhere.

    Such an image can be sent to another process. As a text it is what run folders call it, and ``data.named_images.image_at``
    finds it again by that.
    """

    __slots__ = ()

    @property
    def name(self) -> str:
        """Its file's name."""
        raise NotImplementedError(f"{type(self).__name__}.name")

    @property
    def container(self) -> str:
        """Place of the file that its bytes are in."""
        raise NotImplementedError(f"{type(self).__name__}.container")

    def read_bytes(self) -> bytes:
        """The content of the image file.

        Raises:
            UnreadableImage: It cannot be read.
        """
        raise NotImplementedError(f"{type(self).__name__}.read_bytes")

    def exists(self) -> bool:
        """Whether it is there, as far as can be told without reading it."""
        return True

    def absolute(self) -> Self:
        """As of a path: it is that already."""
        return self

    resolve = absolute


@dataclass(frozen=True, slots=True)
class RefusedImage(StoredImage):
    """An image that a file names and that is not read, whether it is there or not.

    Attributes:
        place: As the file names it.
        why: What it is, and what would have it read.
    """

    place: str
    why: str

    def __str__(self) -> str:
        return self.place

    @property
    def name(self) -> str:
        return name_of(self.place)

    @property
    def container(self) -> str:
        return self.place

    def exists(self) -> bool:
        return False

    def read_bytes(self) -> bytes:
        raise UnreadableImage(self.why)


class ImageBytes(io.BytesIO):
    """The content of an image file that lies inside another file, for ``open_image``.

    Args:
        data: The content.
        name: The name for messages.
    """

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self.name = name


def open_image(
    path: Path | StoredImage | BinaryIO | Image,
    *,
    apply_exif_orientation: bool = True,
    skip_greyscale: bool = False,
    near: int | None = None,
) -> Image:
    """Read an image as RGB.

    Args:
        path: Image file, its content, an image stored in another file, or a Pillow image, which is not changed.
        apply_exif_orientation: Turn photos upright that carry an EXIF orientation.
        skip_greyscale: Refuse single-channel images, which the released code cannot read.
        near: Pixels that each side must keep: a large JPEG is read at a half, a quarter or an eighth of its size, which is faster.

    Returns:
        An 8-bit RGB image, fully loaded. Deeper greyscale is scaled to 8 bits. Transparency is dropped, as in CLIP's own
        preprocessing.

    Raises:
        UnreadableImage: With the reason: missing, no regular file, not an image, damaged, or too large to be safe.
    """
    from PIL import Image, ImageOps

    if isinstance(path, Path):
        require_file(path)
    elif isinstance(path, StoredImage):
        path = ImageBytes(path.read_bytes(), path.name)
    try:
        with nullcontext(path) if isinstance(path, Image.Image) else Image.open(path) as image:
            if skip_greyscale and image.mode in ("1", "L", "I", "F", "I;16"):
                raise SkippedImage("greyscale, and dataset.skip_greyscale=true")
            if not all(image.size):  # a Pillow image in memory may be so
                raise UnreadableImage(f"{image.width} x {image.height} pixels: there are none")
            if max(image.size) > _LONGEST_SIDES * min(image.size):
                # models scale the short side to a few hundred pixels: the long one would take all memory
                raise UnreadableImage(f"{image.width} x {image.height} pixels: more than {_LONGEST_SIDES} times as long as wide")
            if near is not None:
                image.draft(None, (near, near))
            image.load()
            upright = ImageOps.exif_transpose(image) if apply_exif_orientation else image
            return _to_rgb(upright)
    except UnreadableImage:
        raise
    except Exception as error:  # decoders of damaged files raise almost anything; the reason is recorded
        reason = str(error).replace(str(path), getattr(path, "name", "this file"))
        raise UnreadableImage(f"{type(error).__name__}: {reason}" if reason else type(error).__name__) from error


def require_file(path: Path) -> None:
    """Refuse anything that has no readable end: a missing file, a broken link, a folder, a named pipe, a socket, a device.

    Raises:
        UnreadableImage: With the reason.
    """
    try:
        kind = other_kind(path)
        if kind == "folder":
            os.scandir(path).close()
        elif kind is None:
            os.close(os.open(path, os.O_RDONLY))
    except FileNotFoundError:
        raise UnreadableImage(
            f"a link to {os.readlink(path)}, which does not exist"
            if os.path.islink(path)
            else f"no such file{query_hint(str(path))}"
        ) from None
    except ValueError as error:
        raise UnreadableImage(f"no file can have this name ({error})") from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UnreadableImage("a link that leads back to itself") from None
        what = "a folder that cannot" if os.path.isdir(path) else "cannot"
        raise UnreadableImage(f"{what} be read ({error.strerror})") from error
    if kind is not None:
        raise UnreadableImage(f"a {kind}, not an image file")


def is_there(image: Path | StoredImage) -> bool:
    """Whether there is something where an image should be."""
    return image.exists() if isinstance(image, StoredImage) else os.path.exists(image)


def digest_of(image: Path | StoredImage) -> str | None:
    """SHA-256 of an image file's content; None: it is not there any more, or cannot be read."""
    try:
        if isinstance(image, StoredImage):
            return hashlib.sha256(image.read_bytes()).hexdigest()
        if not image.is_file():
            return None
        with image.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except UnreadableImage:
        return None


def jpeg_uri(path: Path | StoredImage, *, side: int, quality: int) -> str:
    """An image as a data URI for a page: a JPEG, upright, at most ``side`` pixels long, without its name and metadata.

    Raises:
        UnreadableImage: As ``open_image``.
    """
    image = open_image(path, near=_NEAR * side)
    image.thumbnail((side, side))
    return _uri("JPEG", _encoded(image, "JPEG", quality=quality))


def image_uri(path: Path | StoredImage, *, side: int) -> str:
    """As ``jpeg_uri``, but an image that is smaller than ``side`` anyway comes without loss, as PNG.

    Raises:
        UnreadableImage: As ``open_image``.
    """
    return _uri(*thumbnail(path, side=side, whole_below=side, quality=_PAGE_QUALITY))


def thumbnail(path: Path | StoredImage, *, side: int, whole_below: int, quality: int, kind: str = "JPEG") -> tuple[str, bytes]:
    """An image for a page: upright, at most ``side`` pixels long, without its name and metadata.

    Args:
        path: Image file.
        side: Pixels of its long side, at most.
        whole_below: An image of fewer pixels on its long side comes without loss, as PNG.
        quality: Of the others, 1 to 100.
        kind: Of the others, as Pillow calls it.

    Returns:
        The kind that it is, and the content of an image file.

    Raises:
        UnreadableImage: As ``open_image``.
    """
    image = open_image(path, near=_NEAR * side)
    if max(image.size) < whole_below:
        return "PNG", _encoded(image, "PNG")
    image.thumbnail((side, side))
    return kind, _encoded(image, kind, quality=quality)


def _encoded(image: Image, kind: str, **options: int) -> bytes:
    stream = io.BytesIO()
    image.info.clear()  # some formats copy a file's metadata into the next file
    image.save(stream, format=kind, **options)
    return stream.getvalue()


def _uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind.lower()};base64,{base64.b64encode(data).decode()}"


def _to_rgb(image: Image) -> Image:
    from PIL import Image

    if image.mode.startswith("I;16") or image.mode in ("I", "F"):  # convert() would clip these at 255
        import numpy

        values = numpy.nan_to_num(numpy.asarray(image, dtype=numpy.float64))
        top = 65535.0 if image.mode != "F" else float(max(values.max(initial=0.0), 1.0))  # floats: 0..1, or up to their largest
        return Image.fromarray((values.clip(0, top) * (255.0 / top)).round().astype(numpy.uint8)).convert("RGB")
    return image.convert("RGB")
