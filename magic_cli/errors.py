"""Errors that the user can mend: one line on stderr, exit status 2, never a traceback."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterator, Sequence
from typing import Any

LEAST_WEIGHT = 1e-6
MOST_ITEMS = 1_000_000_000
"""The largest value of settings that count items or steps, far above any real number: a larger value is a typing mistake."""
MOST_SEED = 2**63 - 1
MOST_SECONDS = 1_000_000
MOST_THREADS = 1024
"""With about ten thousand threads, torch ends with a segmentation fault."""
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST)
"""Errors of the system at a place that a command may not write or read."""
_FULL = {
    errno.ENOSPC: ("the disk is full", "free some space"),
    errno.EDQUOT: ("the disk is full", "free some space"),
    errno.EFBIG: ("a file would be larger than this shell or disk allows", "raise the limit (ulimit -f), or name another disk"),
}


class MagicError(Exception):
    """A fault in settings, files or the machine that the user can mend.

    The message names the setting or file, the value found, what is allowed, and what to do next.
    """


class SettingsError(MagicError, ValueError):
    """A setting has a value that is not allowed."""


def chain(error: BaseException) -> Iterator[BaseException]:
    """An error and those that led to it, each once: ``except A as a: raise a.__cause__`` closes a circle."""
    seen = set[int]()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        yield one
        seen.add(id(one))
        one = one.__cause__ or one.__context__


def nearest(name: str, known: Sequence[str]) -> str:
    """A hint for an unknown name.

    >>> nearest("aplha", ["k", "alpha", "beta"])
    'did you mean alpha? (k, alpha, beta)'
    >>> nearest("BLEU", ["bleu", "cider"])
    'did you mean bleu? (bleu, cider)'
    >>> nearest("zzz", ["k", "alpha"])
    'allowed: k, alpha'
    """
    small = {one.lower(): one for one in known}
    close = difflib.get_close_matches(name.lower(), small, n=1)
    listed = ", ".join(known)
    return f"did you mean {small[close[0]]}? ({listed})" if close else f"allowed: {listed}"


def install_extra(extra: str) -> str:
    """The remedy for missing optional packages; magic itself is on no package index.

    >>> install_extra("ray")
    "in the clone of magic: pip install '.[ray]'"
    """
    return f"in the clone of magic: pip install '.[{extra}]'"


def require(
    name: str,
    value: float,
    *,
    prefix: str | None = None,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    floor: float | None = None,
    limit: float | None = None,
) -> None:
    """Check the range of the setting ``prefix.name``.

    The first four limits follow from the meaning of the setting. ``floor`` and ``limit`` are wide bounds against typing mistakes
    and against numbers that float32 cannot represent.

    Raises:
        SettingsError: One line with the setting as the user types it, the value, and the allowed range.

    >>> require("alpha", 7, prefix="decoding", at_least=0, at_most=1)
    Traceback (most recent call last):
        ...
    magic_cli.errors.SettingsError: decoding.alpha must be in [0, 1], got 7
    """
    if limit is not None and value > limit:
        allowed = f"at most {limit}"
    elif (
        (at_least is None or value >= at_least)
        and (above is None or value > above)
        and (at_most is None or value <= at_most)
        and (below is None or value < below)
    ):
        if floor is None or value >= floor:
            return
        allowed = f"at least {floor}"
    elif at_most is None and below is None:
        allowed = f"at least {at_least}" if above is None else f"greater than {above}"
    else:
        start = f"[{at_least}" if above is None else f"({above}"
        allowed = f"in {start}, {at_most}]" if below is None else f"in {start}, {below})"
    setting = name if prefix is None else f"{prefix}.{name}"
    raise SettingsError(f"{setting} must be {allowed}, got {value}")


def require_weight(name: str, value: float, *, prefix: str, limit: float) -> None:
    """Check a weight: 0, or neither so small nor so large that float32 would lose one side of a sum.

    Raises:
        SettingsError: As in ``require``.

    >>> require_weight("beta", 1e-46, prefix="decoding", limit=1000)
    Traceback (most recent call last):
        ...
    magic_cli.errors.SettingsError: decoding.beta must be 0 or at least 1e-06, got 1e-46
    """
    require(name, value, prefix=prefix, at_least=0, limit=limit)
    if 0 < value < LEAST_WEIGHT:
        raise SettingsError(f"{prefix}.{name} must be 0 or at least {LEAST_WEIGHT}, got {value}")


def out_of_memory(run: Any, then: str) -> str:
    """The line for memory of a device that ran out.

    Args:
        run: The settings of the group ``run``.
        then: What the same command does when it is started again.
    """
    remedy = "lower it" if isinstance(run.batch_size, int) else "give a number below the one that it chose"
    if run.batch_size == 1:
        remedy = "choose a smaller model"
    return f"run.device={run.device}: out of memory with run.batch_size={run.batch_size}; {remedy}, or set run.dtype=bfloat16; {then}"


def of_machine(error: BaseException, run: Any, then: str) -> MagicError | None:
    """What the machine refuses, as one line: a place that may not be used, a full disk, memory of a device. None: the error is another one.

    Args:
        error: What was raised.
        run: The settings of the group ``run``, if torch took part.
        then: What happens when the same is started again.
    """
    if isinstance(error, OSError) and error.errno in _REFUSED and error.filename is not None:
        return MagicError(f"{error.filename}: cannot be used ({error.strerror}); mend its permissions, or name another place")
    if isinstance(error, OSError) and error.errno in _FULL:
        what, remedy = _FULL[error.errno]
        return MagicError(f"{what} ({error.strerror}); {remedy}; then {then}")
    if type(error).__name__ == "OutOfMemoryError":  # torch's; this module does not import torch
        return MagicError(out_of_memory(run, f"then {then}"))
    return None


def refuse_nan(model: str, is_faulty: bool) -> None:
    """Stop if a model computes NaN, as large models may in float16.

    Args:
        model: The settings group of the model.
        is_faulty: Whether it computed NaN.

    Raises:
        MagicError: It did.
    """
    if is_faulty:
        raise MagicError(f"{model}: the model computes NaN; set run.dtype=float32, or check its files if that is already set")
