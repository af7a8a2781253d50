"""Progress of long work: a bar if stderr is a terminal, else a plain line now and then, as a log file needs it.

All commands show progress through this module. It knows nothing about the work itself.
"""

from __future__ import annotations

import contextlib
import sys
import time
from typing import Any, Self

from magic_cli.terminal.wording import duration, plural, speed

_FIRST_SECONDS, _LONGEST_SECONDS = 15.0, 300.0
_SHARE = 0.05
"""Share of the elapsed time between two lines, so that a long log stays short enough to read."""
_BYTES = "B"
LOADING = "loading"
"""The message while models are loaded."""


def progress(total: int | None, what: str, unit: str, *, done: int = 0, leave: bool = True) -> Progress:
    """The progress of one piece of work; use it as a context manager.

    Args:
        total: All units; None: not known.
        what: The work, such as ``captions``.
        unit: The name of one unit, such as ``image``; ``B`` for bytes.
        done: Units finished by an earlier start.
        leave: The bar stays on the terminal at the end.
    """
    if sys.stderr is not None and sys.stderr.isatty():
        return _Bar(total, what, unit, done, leave)
    return _Lines(total, what, unit, done)


class Progress:
    """Receives progress. This class shows nothing; processes other than the first use it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        """End the progress; after an error nothing more is printed."""

    def update(self, count: int = 1) -> None:
        """Note that ``count`` more units are done."""

    def note(self, text: str) -> None:
        """Set the text after the count, such as the loss."""

    def say(self) -> None:
        """If there is no bar, print a line at once."""

    def paused(self) -> contextlib.AbstractContextManager[Any]:
        """A context for writing to stdout, which may be the same terminal."""
        return contextlib.nullcontext()


class _Bar(Progress):
    def __init__(self, total: int | None, what: str, unit: str, done: int, leave: bool) -> None:
        from tqdm import tqdm

        self._bar = tqdm(total=total, initial=done, desc=what, unit=unit, unit_scale=unit == _BYTES, file=sys.stderr, leave=leave)

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        self._bar.close()

    def update(self, count: int = 1) -> None:
        self._bar.update(count)

    def note(self, text: str) -> None:
        self._bar.set_postfix_str(text)

    def paused(self) -> contextlib.AbstractContextManager[Any]:
        return self._bar.external_write_mode(file=sys.stdout)


class _Lines(Progress):
    """Prints lines during updates only: a thread between them would not survive a fork."""

    def __init__(self, total: int | None, what: str, unit: str, done: int) -> None:
        self._total, self._what, self._unit, self._done = total, what, unit, done
        self._note = ""
        self._began = time.monotonic()
        self._last = self._last_but_one = (self._began, done)
        """The time of a line, and how many units were done then."""
        self._is_silent = True

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        if kind is None and not self._is_silent:
            self._print(f" in {duration(time.monotonic() - self._began)}")

    def update(self, count: int = 1) -> None:
        self._done += count
        now = time.monotonic()
        if now - self._last[0] >= min(_LONGEST_SECONDS, max(_FIRST_SECONDS, _SHARE * (now - self._began))):
            self.say()

    def note(self, text: str) -> None:
        self._note = text

    def say(self) -> None:
        now, (then, count) = time.monotonic(), self._last_but_one  # not the last one, so that the speed does not jump
        new, seconds = self._done - count, max(now - then, 1e-9)
        details = [self._speed(new, seconds)] if new else []
        if new and self._total is not None:
            details.append(f"{duration(round(max(0, self._total - self._done) * seconds / new))} left")
        details += [self._note] if self._note else []
        self._last_but_one, self._last, self._is_silent = self._last, (now, self._done), False
        self._print("".join(f", {detail}" for detail in details))

    def _speed(self, number: int, seconds: float) -> str:
        return f"{number / seconds / 1e6:.1f} MB/s" if self._unit == _BYTES else speed(number, seconds, self._unit)

    def _print(self, details: str) -> None:
        if self._unit == _BYTES:
            count = f"{self._done / 1e6:.1f}" + (f" of {self._total / 1e6:.1f}" if self._total is not None else "") + " MB"
        else:
            count = f"{self._done:,}" + (f" of {self._total:,}" if self._total is not None else "") + f" {plural(self._unit)}"
        if sys.stderr is not None:
            print(f"magic: {self._what}: {count}{details}", file=sys.stderr, flush=True)
