"""Pages without a script: one section below the other."""

from __future__ import annotations

from pathlib import Path

from magic_cli.pages.html import as_html, document

_STYLE = (Path(__file__).parent / "plain.css").read_text(encoding="utf-8")


def plain_page(title: str, body: str, style: str = "") -> str:
    """A page with its title as heading.

    Args:
        title: Plain text.
        body: HTML.
        style: CSS in addition to that of all such pages.
    """
    return document(title, f"<h1>{as_html(title)}</h1>\n{body}", style=_STYLE + style)
