"""Serves the page on this machine. Nothing is sent elsewhere, and everything that visitors left is deleted at the end."""

from __future__ import annotations

import ipaddress
import logging
import os
import socket
import sys
from collections.abc import Callable
from typing import Any

from magic_cli.configuration.live_settings import LiveSettings
from magic_cli.data.images import quiet_pillow
from magic_cli.errors import MagicError, install_extra
from magic_cli.live.sessions import Workplace
from magic_cli.terminal.streams import print_line

_SECONDS_TO_END = 2
_ONLY_FROM_HERE = "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"


def serve(settings: LiveSettings) -> None:
    """Serve until Ctrl-C or SIGTERM; the address goes to stdout.

    Raises:
        MagicError: Gradio is missing, or the address or a model cannot be used.
    """
    quiet_pillow()
    listening = _listen(settings)
    workplace = Workplace()
    try:
        server = make_server(settings, workplace)
        host, port = listening.getsockname()[:2]
        print_line(f"http://{f'[{host}]' if ':' in host else host}:{port}/")
        print("magic: the page is there until Ctrl-C; photos and runs are deleted when it is closed", file=sys.stderr)
        if not ipaddress.ip_address(host).is_loopback:
            print(f"magic: warning: host={settings.host} shows the page to everybody who can reach this machine", file=sys.stderr)
        server.run(sockets=[listening])
    finally:
        workplace.close()
        listening.close()


def make_server(settings: LiveSettings, workplace: Workplace) -> Any:
    """A ``uvicorn.Server`` for the page.

    Raises:
        MagicError: Gradio is missing, or a model cannot be used.
    """
    os.environ |= {
        "GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": str(workplace.folder), "HF_HUB_DISABLE_TELEMETRY": "1",
    }  # fmt: skip
    try:
        import gradio as gr
        import uvicorn
        from fastapi import FastAPI, HTTPException
        from fastapi.responses import FileResponse
    except ImportError as error:
        raise MagicError(f"magic live needs Gradio ({error}); {install_extra('live')}") from error
    from magic_cli.live.cards import CSS
    from magic_cli.live.page import STEPS, Studio, build_page
    from magic_cli.live.readiness import make_ready

    studio = Studio(settings, workplace)
    make_ready(settings, studio.loaded)
    page = build_page(studio)
    theme = _theme(gr)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.get(f"{STEPS}{{name}}")
    def steps(name: str) -> FileResponse:
        file = workplace.page(name)
        if file is None:
            raise HTTPException(404, "the steps of these captions are gone; write them again")
        return FileResponse(file, media_type="text/html; charset=utf-8")

    app = gr.mount_gradio_app(
        app, page, path="/", server_name=settings.host, server_port=settings.port, footer_links=[], run_history=False,
        max_file_size=settings.max_megabytes * 1_000_000, ssr_mode=False, enable_monitoring=False, pwa=False, mcp_server=False, theme=theme,
        css=CSS,
    )  # fmt: skip
    config = uvicorn.Config(
        _only_from_here(app), log_level="warning", access_log=False, timeout_graceful_shutdown=_SECONDS_TO_END, ws="none"
    )
    server = uvicorn.Server(config)
    # a page that is open while the program ends has its connection cut: that is meant, and no error to print
    logging.getLogger("uvicorn.error").addFilter(lambda record: not server.should_exit)
    return server


def _theme(gr: Any) -> Any:
    """Gradio's theme with fonts of this machine, and with colours that stand out enough to be read."""
    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    button = {"button_primary_background_fill": "*primary_700", "button_primary_background_fill_hover": "*primary_800"}
    dark = {f"{name}_dark": colour for name, colour in button.items()}
    return theme.set(body_text_color_subdued="*neutral_500", input_placeholder_color="*neutral_500", **button, **dark)


def _listen(settings: LiveSettings) -> socket.socket:
    try:
        return socket.create_server(
            (settings.host, settings.port), family=socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        )
    except OSError as error:
        is_unknown_host = isinstance(error, socket.gaierror)  # its numbers are not those of other errors
        reason = error.strerror if is_unknown_host or not error.errno else os.strerror(error.errno)
        raise MagicError(
            f"host={settings.host} port={settings.port}: cannot be had ({reason or error}); set port=0 for a free one, or another host"
        ) from error


def _only_from_here(app: Any) -> Callable[..., Any]:
    """The same application with a policy that lets its pages load nothing from other servers."""

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        async def with_policy(message: Any) -> None:
            if message["type"] == "http.response.start":
                policy = (b"content-security-policy", _ONLY_FROM_HERE.encode())
                message = {**message, "headers": [*message["headers"], policy, (b"referrer-policy", b"no-referrer")]}
            await send(message)

        await app(scope, receive, with_policy if scope["type"] == "http" else send)

    return guarded
