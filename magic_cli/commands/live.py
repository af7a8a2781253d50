"""magic live: a page on this machine where a photo is captioned by several methods, token by token."""

from __future__ import annotations

from magic_cli.configuration.live_settings import LiveSettings

DONE = 0


def run(settings: LiveSettings) -> int:
    """Serve the page until it is stopped; its address goes to stdout."""
    from magic_cli.live.server import serve

    serve(settings)
    return DONE
