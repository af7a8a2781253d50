"""A page of queries, each with the images found for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from magic_cli.data.named_images import ImageRoot
from magic_cli.pages.html import as_html
from magic_cli.pages.pictures import picture
from magic_cli.pages.plain import plain_page
from magic_cli.terminal.wording import counted

_STYLE = ".images { display: flex; flex-wrap: wrap; gap: .8rem } figure { width: 200px }\n"


def contact_sheet(results: Sequence[Mapping[str, Any]], folder: Path, *, total: int, embedded: bool) -> str:
    """The page as HTML.

    Args:
        results: Lines of retrieved.jsonl; image paths are absolute or relative to ``folder``.
        folder: The folder of the page.
        total: Number of all queries; the results are the first of them.
        embedded: True: thumbnails inside the page, which is then complete; false: links to the image files.
    """
    shown = counted(len(results), "query", "queries") if len(results) == total else f"the first {len(results)} of {total} queries"
    sections = "\n".join(_section(result, folder, embedded) for result in results)
    return plain_page(
        "Retrieved images", f"<p>{shown}; below each image its id and its cosine with the query.</p>\n{sections}", _STYLE
    )


def _section(result: Mapping[str, Any], folder: Path, embedded: bool) -> str:
    figures = "\n".join(_figure(image, folder, embedded) for image in result["images"])
    return f'<section>\n<h2>{as_html(result["query"])}</h2>\n<div class="images">\n{figures}\n</div>\n</section>'


def _figure(image: Mapping[str, Any], folder: Path, embedded: bool) -> str:
    caption = f"<figcaption>{as_html(image['id'])}<br>{image['score']:.3f}</figcaption>"
    shown = picture(ImageRoot(folder, follows=True).image(image["image"]), folder, embedded=embedded)
    return f"<figure>{shown}{caption}</figure>"
