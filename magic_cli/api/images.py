"""The forms of an image in Python: files, Pillow images, arrays; each gets the name that it would have in a run."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from magic_cli.data.datasets import PhotoFiles, PhotoFolder
from magic_cli.data.images import StoredImage
from magic_cli.data.named_images import typed_image
from magic_cli.data.place_names import is_address, local
from magic_cli.errors import MagicError

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image as PillowImage

Image: TypeAlias = "str | os.PathLike[str] | PillowImage | np.ndarray"
"""A file or an address, a Pillow image, or an array (H, W) or (H, W, 3 or 4): uint8, or floats from 0 to 1."""
Images: TypeAlias = "Image | Iterable[Image] | Mapping[str, Image]"
"""One or several images. A folder, or an address that ends in ``/``, stands for all images below it; a mapping gives each image a name."""

_KINDS = "an image is a file, an image of Pillow, or an array (height, width) or (height, width, 3)"

_RAW = (bytes, bytearray, memoryview, io.IOBase)


@dataclass(frozen=True)
class Picture:
    """One image.

    Attributes:
        id: Unique in a call.
        source: The file, or the image itself.
        name: The file name; empty if there is none.
    """

    id: str
    source: Path | StoredImage | PillowImage
    name: str = ""

    @property
    def file(self) -> str | None:
        """The file or address as text; None: the image is in memory."""
        return file_of(self.source)


def file_of(source: Any) -> str | None:
    """The file or address of an image; None: it is in memory, or there is no image."""
    return str(source) if isinstance(source, Path | StoredImage) else None


def is_one(images: Any) -> bool:
    """Whether the value is one image, not several."""
    if isinstance(images, str | os.PathLike):
        place = local(os.fspath(images))
        return not (place.endswith("/") if is_address(place) else os.path.isdir(os.path.expanduser(place)))
    return _is_pillow(images) or hasattr(images, "__array_interface__") or hasattr(images, "__array__")


_NONE = "images: there are none; give a file, an image of Pillow, an array, or a list of them"


def pictures(images: Images) -> list[Picture]:
    """All images, in order; an image that is given twice appears twice.

    Raises:
        MagicError: There are none, or one has an unknown form.
    """
    if isinstance(images, str | os.PathLike) and not is_one(images):
        folder = PhotoFolder(name="photos", root=os.fspath(images)).load()
        return [Picture(record.id, record.path, record.image_name) for record in folder]
    if isinstance(images, Mapping):
        given = [str(name) for name in images]
        if twice := {name for name in given if given.count(name) > 1}:
            raise MagicError(f"images: the name {min(twice)!r} appears twice; names must differ")
        if not given:
            raise MagicError(_NONE)
        return [_picture(image, str(name)) for name, image in images.items()]
    if isinstance(images, _RAW) or not (is_one(images) or isinstance(images, Iterable)):
        raise _no_image(images)
    several = [images] if is_one(images) else list(cast("Iterable[Image]", images))
    if not several:
        raise MagicError(_NONE)
    files = {os.fspath(image) for image in several if isinstance(image, str | os.PathLike)} - {""}
    records = PhotoFiles(name="files", paths=sorted(files)).read() if files else []
    names = {str(record.path): record.id for record in records}
    found = [_picture(image, names, number) for number, image in enumerate(several, start=1)]
    return _told_apart(found)


def _picture(image: Any, names: Mapping[str, str] | str, number: int = 0) -> Picture:
    """One image; ``names`` maps files to names, or is its name."""
    if isinstance(image, str | os.PathLike):
        if not os.fspath(image):
            raise MagicError("images: '' is the name of no file; give its path")
        path = typed_image(os.fspath(image), "images")
        return Picture(names if isinstance(names, str) else names[str(path)], path, path.name)
    kept = image if _is_pillow(image) else from_array(image)
    file = Path(str(getattr(image, "filename", "") or "")).name
    return Picture(names if isinstance(names, str) else file or f"image-{number}", kept, file)


def _told_apart(found: list[Picture]) -> list[Picture]:
    """The same images with different names for different images. Several in memory may come from the same file."""
    owners: dict[str, Any] = {}
    told = []
    for one in found:
        owner, name, number = one.file or id(one.source), one.id, 1
        while owners.setdefault(name, owner) != owner:
            number += 1
            name = f"{one.id} ({number})"
        told.append(replace(one, id=name))
    return told


def _is_pillow(image: Any) -> bool:
    from PIL import Image

    return isinstance(image, Image.Image)


def from_array(array: Any) -> PillowImage:
    """Turn an array into an image.

    Raises:
        MagicError: Its shape or its numbers are not those of an image.
    """
    import numpy as np
    from PIL import Image

    try:
        pixels = np.asarray(array)
    except Exception as error:  # each library raises its own errors, for instance for tensors on a GPU
        raise MagicError(f"images: {type(array).__name__} cannot be read as an array ({error})") from error
    if pixels.ndim == 0 or pixels.dtype.kind in "OSU":
        raise _no_image(array)
    is_colour = pixels.ndim == 3 and pixels.shape[-1] in (1, 3, 4)
    if not (pixels.ndim == 2 or is_colour) or 0 in pixels.shape:
        raise MagicError(f"images: {_KINDS}, got {_said(pixels)}")
    if pixels.dtype.kind == "f" and pixels.min() >= 0 and pixels.max() <= 1:
        pixels = (pixels * 255).round().astype(np.uint8)
    if pixels.dtype != np.uint8:
        raise MagicError(f"images: an array must hold uint8, or floats from 0 to 1, got {_said(pixels)}")
    return Image.fromarray(pixels[..., 0] if is_colour and pixels.shape[-1] == 1 else pixels)


def _no_image(given: Any) -> MagicError:
    remedy = "; open the bytes of a file with PIL.Image.open" if isinstance(given, _RAW) else ""
    return MagicError(f"images: {_KINDS}, got {type(given).__name__}{remedy}")


def _said(pixels: Any) -> str:
    numbers = f" from {pixels.min():g} to {pixels.max():g}" if pixels.size and pixels.dtype.kind in "fiu" else ""
    return f"shape {pixels.shape} of {pixels.dtype}{numbers}"
