"""Pieces of the pages that magic writes: everything is escaped, and a page works offline."""

from __future__ import annotations

import html
import os
from pathlib import Path
from urllib.parse import quote

from magic_cli.data.images import UnreadableImage, image_uri

_STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 2rem; color: #222; background: #fff }
section { border-top: 1px solid #ccc; padding: .8rem 0 } h2 { font-size: 1rem; margin: 0 0 .5rem }
figure { margin: 0 } img { max-width: 192px; max-height: 192px; background: #eee } figcaption { font-size: 12px; color: #555; overflow-wrap: anywhere }
"""
_SIDE = 192  # pixels of an embedded image's long side


def document(title: str, body: str, style: str = "") -> str:
    """A whole page.

    Args:
        title: As text.
        body: As HTML.
        style: CSS beside that of all pages.
    """
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{as_html(title)}</title>\n<style>{_STYLE}{style}</style>\n'
        f"</head>\n<body>\n<h1>{as_html(title)}</h1>\n{body}\n</body>\n</html>\n"
    )


def as_html(text: str) -> str:
    """Text as HTML; a file name that is no UTF-8 shows its odd bytes as escapes."""
    return html.escape(text.encode(errors="backslashreplace").decode())


def picture(file: Path, folder: Path, *, embedded: bool) -> str:
    """An image as HTML, or why it cannot be shown.

    Args:
        file: The image.
        folder: Where the page will lie.
        embedded: A thumbnail inside the page; else a link to the file.
    """
    if not embedded:
        link = quote(os.path.relpath(file, folder), errors="surrogateescape")
        return f'<a href="{link}"><img loading="lazy" alt="" src="{link}"></a>'
    try:
        return f'<img alt="" src="{image_uri(file, side=_SIDE)}">'
    except UnreadableImage as reason:  # it could be read once
        return f"<p>cannot be read any more: {as_html(str(reason))}</p>"
