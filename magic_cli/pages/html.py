"""A whole HTML page. All content is escaped; the page works offline, and runs and loads nothing from outside."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from magic_cli.data.json_text import HALF_CHARACTER

THEME = (Path(__file__).parent / "theme.css").read_text(encoding="utf-8").rstrip()
"""Colours, light and dark, and the basic style of all pages."""


def as_html(text: str) -> str:
    """Text as HTML. In a file name that is not UTF-8, the bytes that do not fit are shown as escapes."""
    return html.escape(text.encode(errors="backslashreplace").decode())


def document(
    title: str,
    body: str,
    *,
    style: str = "",
    scripts: Sequence[str] = (),
    attributes: Mapping[str, str] | None = None,
) -> str:
    """A whole page. Its policy allows only these scripts and this style, and only images inside the page and beside it.

    Args:
        title: Plain text.
        body: HTML.
        style: CSS in addition to the theme.
        scripts: JavaScript, run in this order after the body is there.
        attributes: Attributes of the body.
    """
    style = f"{THEME}\n{style.strip()}\n"
    scripts = [f"{script.strip()}\n" for script in scripts]
    policy = (
        f"default-src 'none'; img-src data: 'self' file:; style-src {_hash(style)}; "
        f"script-src {' '.join(map(_hash, scripts)) or _NONE}; base-uri 'none'; form-action 'none'"
    )
    named = "".join(f' {name}="{as_html(value)}"' for name, value in (attributes or {}).items())
    run = "".join(f"<script>{script}</script>\n" for script in scripts)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n<meta name="robots" content="noindex">\n'
        f"<title>{as_html(title)}</title>\n<style>{style}</style>\n"
        f"</head>\n<body{named}>\n{body.strip()}\n{run}</body>\n</html>\n"
    )


_NONE = "'none'"


def _hash(text: str) -> str:
    """The hash of a text, in the form that a policy needs to allow it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def data_block(name: str, data: Any) -> str:
    """Data for a page's script, as JSON that no browser runs: ``JSON.parse(document.getElementById(name).textContent)``.

    >>> data_block("items", {"a": "</script>"})
    '<script type="application/json" id="items">{"a":"\\\\u003c/script>"}</script>'
    """
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    # half characters, as in odd file names, are not UTF-8
    whole = HALF_CHARACTER.sub(lambda half: f"\\u{ord(half[0]):04x}", text)
    return f'<script type="application/json" id="{name}">{whole}</script>'
