"""A page that shows queries beside the images that were found for them."""

from __future__ import annotations

import html
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from magic_cli.data.images import UnreadableImage, jpeg_uri
from magic_cli.terminal.wording import counted

_SIDE, _JPEG_QUALITY = 192, 80  # pixels of a thumbnail's long side
_STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 2rem; color: #222; background: #fff }
section { border-top: 1px solid #ccc; padding: .8rem 0 } h2 { font-size: 1rem; margin: 0 0 .5rem }
.images { display: flex; flex-wrap: wrap; gap: .8rem } figure { margin: 0; width: 200px }
img { max-width: 192px; max-height: 192px; background: #eee } figcaption { font-size: 12px; color: #555; overflow-wrap: anywhere }
"""


def contact_sheet(results: Sequence[Mapping[str, Any]], folder: Path, *, total: int, embedded: bool) -> str:
    """The page as HTML.

    Args:
        results: Lines of retrieved.jsonl; the paths of images are absolute or relative to ``folder``.
        folder: Where the page will lie.
        total: Number of queries, of which these are the first.
        embedded: Thumbnails inside the page, which can then be sent around; else links to the image files.
    """
    shown = counted(len(results), "query", "queries") if len(results) == total else f"the first {len(results)} of {total} queries"
    sections = "\n".join(_section(result, folder, embedded) for result in results)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>Retrieved images</title>\n<style>{_STYLE}</style>\n'
        f"</head>\n<body>\n<h1>Retrieved images</h1>\n<p>{shown}; below each image its id and its cosine with the query.</p>\n"
        f"{sections}\n</body>\n</html>\n"
    )


def _section(result: Mapping[str, Any], folder: Path, embedded: bool) -> str:
    figures = "\n".join(_figure(image, folder, embedded) for image in result["images"])
    return f'<section>\n<h2>{_text(result["query"])}</h2>\n<div class="images">\n{figures}\n</div>\n</section>'


def _figure(image: Mapping[str, Any], folder: Path, embedded: bool) -> str:
    caption = f"<figcaption>{_text(image['id'])}<br>{image['score']:.3f}</figcaption>"
    file = folder / image["image"]  # an absolute path stays as it is
    if not embedded:
        link = quote(os.path.relpath(file, folder), errors="surrogateescape")
        return f'<figure><a href="{link}"><img loading="lazy" alt="" src="{link}"></a>{caption}</figure>'
    try:
        return f'<figure><img alt="" src="{jpeg_uri(file, side=_SIDE, quality=_JPEG_QUALITY)}">{caption}</figure>'
    except UnreadableImage as reason:  # it could be read when the index was built
        return f"<figure><p>cannot be read any more: {_text(str(reason))}</p>{caption}</figure>"


def _text(text: str) -> str:
    """Text as HTML; a file name that is no UTF-8 shows its odd bytes as escapes."""
    return html.escape(text.encode(errors="backslashreplace").decode())
