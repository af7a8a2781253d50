"""Images in pages."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

from magic_cli.data.images import StoredImage, UnreadableImage, image_uri
from magic_cli.pages.html import as_html

SIDE = 192
"""Pixels of an embedded image's long side."""


def picture(file: Path | StoredImage, folder: Path, *, embedded: bool) -> str:
    """An image as HTML, or the reason why it cannot be shown.

    Args:
        file: The image.
        folder: The folder of the page.
        embedded: True: a thumbnail inside the page; false: a link to the file, if it is one of this machine.
    """
    if not embedded and isinstance(file, Path):
        link = quote(os.path.relpath(file, folder), errors="surrogateescape")
        return f'<a href="{link}"><img loading="lazy" alt="" src="{link}"></a>'
    try:
        return f'<img alt="" src="{image_uri(file, side=SIDE)}">'
    except UnreadableImage as reason:  # it could be read before
        return f"<p>cannot be read any more: {as_html(str(reason))}</p>"
