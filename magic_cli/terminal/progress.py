"""How far a long command has come: a bar where stderr is a terminal, else a plain line now and then, as a log wants it.

The one way to show progress; it knows nothing of what is done.
"""

from __future__ import annotations

import contextlib
import sys
import time
from typing import Any, Self

_FIRST_SECONDS, _LONGEST_SECONDS = 15.0, 300.0
_SHARE = 0.05
"""Of the time so far, that passes between two lines: a long log has as many lines as one can read."""
_BYTES = "B"


def progress(total: int | None, what: str, unit: str, *, done: int = 0, leave: bool = True) -> Progress:
    """Progress of one piece of work, to be used as a context manager.

    Args:
        total: Units in all; None: not known.
        what: What is done, such as ``captions``.
        unit: What is counted, such as ``image``; ``B`` for bytes.
        done: Units of an earlier start.
        leave: The bar stays on the terminal at the end.
    """
    if sys.stderr is not None and sys.stderr.isatty():
        return _Bar(total, what, unit, done, leave)
    return _Lines(total, what, unit, done)


class Progress:
    """What progress is told. This one shows nothing, as processes other than the first do."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        """The end; after an error nothing more is said."""

    def update(self, count: int = 1) -> None:
        """So many units more are done."""

    def note(self, text: str) -> None:
        """What stands behind the count from now on, such as the loss."""

    def say(self) -> None:
        """Where there is no bar: a line at once."""

    def paused(self) -> contextlib.AbstractContextManager[Any]:
        """While something is written to stdout, which may be the same terminal."""
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
    """Lines come with the updates, none between them: no thread that a fork would tear apart."""

    def __init__(self, total: int | None, what: str, unit: str, done: int) -> None:
        self._total, self._what, self._unit, self._done = total, what, unit, done
        self._note = ""
        self._began = time.monotonic()
        self._last = self._last_but_one = (self._began, done)
        """When there was a line, and how much was done then."""
        self._is_silent = True

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        if kind is None and not self._is_silent:
            self._print(f" in {_duration(time.monotonic() - self._began)}")

    def update(self, count: int = 1) -> None:
        self._done += count
        now = time.monotonic()
        if now - self._last[0] >= min(_LONGEST_SECONDS, max(_FIRST_SECONDS, _SHARE * (now - self._began))):
            self.say()

    def note(self, text: str) -> None:
        self._note = text

    def say(self) -> None:
        now, (then, count) = time.monotonic(), self._last_but_one  # not the last: a speed should not jump
        speed = (self._done - count) / max(now - then, 1e-9)
        details = [self._speed(speed)] if speed else []
        if speed and self._total is not None:
            details.append(f"{_duration(max(0, self._total - self._done) / speed)} left")
        details += [self._note] if self._note else []
        self._last_but_one, self._last, self._is_silent = self._last, (now, self._done), False
        self._print("".join(f", {detail}" for detail in details))

    def _speed(self, speed: float) -> str:
        if self._unit == _BYTES:
            return f"{speed / 1e6:.1f} MB/s"
        return f"{speed:.1f} {_plural(self._unit)}/s" if speed >= 1 else f"{1 / speed:.1f} s per {self._unit}"

    def _print(self, details: str) -> None:
        if self._unit == _BYTES:
            count = f"{self._done / 1e6:.1f}" + (f" of {self._total / 1e6:.1f}" if self._total is not None else "") + " MB"
        else:
            count = f"{self._done:,}" + (f" of {self._total:,}" if self._total is not None else "") + f" {_plural(self._unit)}"
        if sys.stderr is not None:
            print(f"magic: {self._what}: {count}{details}", file=sys.stderr, flush=True)


def _plural(unit: str) -> str:
    """
    >>> _plural("image"), _plural("story"), _plural("batch")
    ('images', 'stories', 'batches')
    """
    if unit.endswith("y"):
        return f"{unit[:-1]}ies"
    return f"{unit}es" if unit.endswith("ch") else f"{unit}s"


def _duration(seconds: float) -> str:
    """
    >>> _duration(5.4), _duration(100), _duration(7260)
    ('5 s', '1 min 40 s', '2 h 1 min')
    """
    minutes, hours = round(seconds) // 60, round(seconds / 60) // 60
    if hours:
        return f"{hours} h {round(seconds / 60) % 60} min"
    return f"{minutes} min {round(seconds) % 60} s" if minutes else f"{round(seconds)} s"
