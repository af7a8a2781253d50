"""Ctrl-C and SIGTERM: both end a command where it stands, with one line and an exit status of their own."""

from __future__ import annotations

import signal
from typing import Any

from magic_cli.errors import chain

INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM


class _Terminated(KeyboardInterrupt):
    """SIGTERM: ends a command like Ctrl-C, with another exit status."""


def obey_sigterm() -> None:
    """Let SIGTERM end the command as Ctrl-C does."""
    signal.signal(signal.SIGTERM, _terminate)


def _terminate(signum: int, frame: Any) -> None:
    raise _Terminated


def stop_behind(error: BaseException) -> KeyboardInterrupt | None:
    """The stop that led to an error, or is it; None: nobody has stopped the command.

    A library may raise an error of its own while Ctrl-C is on its way out: OmegaConf does so, and locks do.
    """
    return next((cause for cause in chain(error) if isinstance(cause, KeyboardInterrupt)), None)


def status_of(stop: KeyboardInterrupt) -> int:
    """The exit status of a command that was stopped."""
    return TERMINATED if isinstance(stop, _Terminated) else INTERRUPTED
