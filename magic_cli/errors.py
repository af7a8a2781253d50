"""Errors that are the user's to mend: one line on stderr, exit status 2, never a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Sequence


class MagicError(Exception):
    """A fault in settings, files or the machine that the user can put right.

    The message names the setting or file, the value found, what is allowed, and what to do next.
    """


class SettingsError(MagicError, ValueError):
    """A setting has a value that is not allowed."""


def nearest(name: str, known: Sequence[str]) -> str:
    """A hint for a name that is not known.

    >>> nearest("aplha", ["k", "alpha", "beta"])
    'did you mean alpha? (k, alpha, beta)'
    >>> nearest("zzz", ["k", "alpha"])
    'allowed: k, alpha'
    """
    close = difflib.get_close_matches(name, known, n=1)
    listed = ", ".join(known)
    return f"did you mean {close[0]}? ({listed})" if close else f"allowed: {listed}"


def require(
    name: str,
    value: float,
    *,
    prefix: str,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
) -> None:
    """Check the range of the setting ``prefix.name``.

    Raises:
        SettingsError: One line with the setting as the user types it, the value, and the allowed range.

    >>> require("alpha", 7, prefix="decoding", at_least=0, at_most=1)
    Traceback (most recent call last):
        ...
    magic_cli.errors.SettingsError: decoding.alpha must be in [0, 1], got 7
    """
    if (
        (at_least is None or value >= at_least)
        and (above is None or value > above)
        and (at_most is None or value <= at_most)
        and (below is None or value < below)
    ):
        return
    if at_most is None and below is None:
        allowed = f"at least {at_least}" if above is None else f"greater than {above}"
    else:
        start = f"[{at_least}" if above is None else f"({above}"
        allowed = f"in {start}, {at_most}]" if below is None else f"in {start}, {below})"
    raise SettingsError(f"{prefix}.{name} must be {allowed}, got {value}")
