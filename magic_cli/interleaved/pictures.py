"""The images of a run: files in its folder ``images/``, each written completely or not at all."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from magic_cli.files import write_atomically

if TYPE_CHECKING:
    from PIL.Image import Image

FOLDER = "images"
_PLAIN = re.compile(r"[a-z0-9_-]{1,80}")
_ODD = re.compile(r"[^A-Za-z0-9_-]+")


def picture_name(item: str, step: int) -> str:
    """Path in the run folder for the image of a step (from 1). Different items get different names on every file system.

    >>> picture_name("sea", 2)
    'images/sea-2.png'
    >>> picture_name("../Sea 1", 2)
    'images/Sea_1-1de0bffa5c0a-2.png'
    """
    name = item
    if not _PLAIN.fullmatch(item):  # capitals are not plain: some file systems do not distinguish them
        digest = hashlib.sha256(item.encode(errors="surrogatepass")).hexdigest()[:12]
        name = f"{_ODD.sub('_', item).strip('_')[:40]}-{digest}".lstrip("-")
    return f"{FOLDER}/{name}-{step}.png"


def save_picture(run: Path, name: str, image: Image) -> str:
    """Write an image as PNG; returns the SHA-256 of the file."""
    stream = io.BytesIO()
    image.save(stream, format="PNG")
    data = stream.getvalue()
    file = run / name
    file.parent.mkdir(exist_ok=True)
    write_atomically(file, data)
    return hashlib.sha256(data).hexdigest()


def remove_others(run: Path, names: Iterable[str]) -> None:
    """Delete the run's other images, left by a killed start or by items that have changed since."""
    kept = {run / name for name in names}
    for file in sorted((run / FOLDER).glob("*.png*")) + sorted((run / FOLDER).glob(".*.tmp")):
        if file not in kept:
            file.unlink()
