"""A page of texts and images in order: each step's prompt, the model's answer, and the true answer beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from magic_cli.data.named_images import image_at
from magic_cli.pages.html import as_html
from magic_cli.pages.pictures import picture
from magic_cli.pages.plain import plain_page

_STYLE = """.step { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 1rem; padding: .5rem 0; border-top: 1px dotted var(--line) }
.step > div > b { display: block; font-size: 12px; color: var(--soft); font-weight: normal } .once { color: var(--soft); font-style: italic }
p { margin: .2rem 0; overflow-wrap: anywhere; white-space: pre-wrap } img { min-width: 128px }
"""


def interleaved_page(records: Sequence[Mapping[str, Any]], folder: Path, *, total: int, embedded: bool) -> str:
    """The page as HTML.

    Args:
        records: Lines of predictions.jsonl.
        folder: The run folder, which will hold the page.
        total: Number of all items; the records are the first of them.
        embedded: True: thumbnails inside the page, which is then complete; false: links to the image files.
    """
    shown = "" if len(records) == total else f"<p>The first {len(records)} of {total} items.</p>\n"
    return plain_page("Texts and images", shown + "\n".join(_section(record, folder, embedded) for record in records), _STYLE)


def _section(record: Mapping[str, Any], folder: Path, embedded: bool) -> str:
    steps = "\n".join(_step(number, step, folder, embedded) for number, step in enumerate(record["steps"], start=1))
    past = (
        f'<div class="step">\n<div><b>before</b>{_parts(record["history"], folder, embedded)}</div>\n</div>\n'
        if "history" in record
        else ""
    )
    return f"<section>\n<h2>{as_html(record['id'])}</h2>\n{past}{steps}\n</section>"


def _step(number: int, step: Mapping[str, Any], folder: Path, embedded: bool) -> str:
    drawn = [] if step["image"] is None else [{"image": str(folder / step["image"])}]
    answer = [*([{"text": step["text"]}] if step["text"] else []), *drawn]
    columns = [("told", step.get("parts", [])), ("written and drawn", answer)]
    columns += [("truth", step["target"])] if "target" in step else []
    inner = "\n".join(f"<div><b>{number}. {name}</b>{_parts(parts, folder, embedded)}</div>" for name, parts in columns)
    return f'<div class="step">\n{inner}\n</div>'


def _parts(parts: Sequence[Mapping[str, Any]], folder: Path, embedded: bool) -> str:
    return "".join(_part(part, folder, embedded) for part in parts) or "<p>nothing</p>"


def _part(part: Mapping[str, Any], folder: Path, embedded: bool) -> str:
    if "image" in part:
        return f"<figure>{picture(image_at(part['image']), folder, embedded=embedded)}</figure>"
    once = ' class="once"' if part.get("once") else ""
    return f"<p{once}>{as_html(part['text'])}</p>"
