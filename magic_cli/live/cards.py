"""The captions on the page, as HTML; everything from outside is escaped."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

CSS = """
.magic-cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 17rem), 1fr)); gap: 1rem; }
.magic-card { border: 1px solid var(--border-color-primary); border-radius: 8px; padding: 0.8rem 1rem; }
.magic-card h2 { margin: 0 0 0.4rem; font-size: 1rem; }
.magic-card .state { float: right; font-size: 0.85rem; opacity: 0.8; }
.magic-card .caption { font-size: 1.15rem; min-height: 2.6em; margin: 0.2rem 0 0.6rem; overflow-wrap: anywhere; }
.magic-card pre { font-size: 0.8rem; white-space: pre-wrap; overflow-wrap: anywhere; margin: 0.3rem 0 0; }
.magic-problem { border-left: 4px solid #b3261e; padding: 0.5rem 0.8rem; overflow-wrap: anywhere; }
.magic-photo { max-width: 100%; max-height: 20rem; border-radius: 8px; display: block; margin: 0 auto; }
.magic-inspector { width: 100%; height: 48rem; border: 1px solid var(--border-color-primary); border-radius: 8px; background: Canvas; }
footer { display: none !important; }
"""


@dataclass(frozen=True)
class Card:
    """One caption while it is written.

    Attributes:
        method: The method that writes it.
        command: The command line that gives the same caption.
        state: ``waiting``, ``writing``, ``done``, ``stopped`` or ``failed``.
        text: The caption so far; if it failed, the reason.
        seconds: How long it took; None: it is not finished.
    """

    method: str
    command: str
    state: str = "waiting"
    text: str = ""
    seconds: float | None = None


def cards_html(cards: Sequence[Card]) -> str:
    """Captions beside each other, or below each other on a narrow page."""
    return f'<div class="magic-cards">{"".join(map(_card_html, cards))}</div>'


def _card_html(card: Card) -> str:
    method, text, command = map(html.escape, (card.method, card.text, card.command))
    state = card.state if card.seconds is None else f"{card.state} in {card.seconds:.1f} s"
    live = "polite" if card.state in ("done", "failed") else "off"  # screen readers read it once, not at every token
    shown = f'<span role="alert">{text}</span>' if card.state == "failed" else text
    return (
        f'<section class="magic-card" data-method="{method}" data-state="{card.state}" aria-label="{method}">'
        f'<span class="state">{state}</span><h2>{method}</h2>'
        f'<p class="caption" aria-live="{live}">{shown}</p>'
        f"<details><summary>command line</summary><pre>{command}</pre></details></section>"
    )


def problem_html(text: str) -> str:
    """The reason for a refusal."""
    return f'<p class="magic-problem" role="alert">{html.escape(text)}</p>'


def photo_html(uri: str, name: str) -> str:
    """A thumbnail of the photo, as a data URI."""
    return f'<img class="magic-photo" src="{html.escape(uri)}" alt="{html.escape(name)}">'


def inspector_html(address: str) -> str:
    """A page in a frame; its scripts cannot see the page around it."""
    return f'<iframe class="magic-inspector" title="each step of each caption" sandbox="allow-scripts" src="{html.escape(address)}"></iframe>'
