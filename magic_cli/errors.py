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
