"""Guards stdout and stderr: text from outside cannot control the terminal, forge a line or hide. A failing stream gives one line.

File names, captions, titles and settings may contain anything: escape sequences, line breaks, letters that change the writing
direction or are invisible. While a command runs, everything that it and its libraries write to ``sys.stdout`` and ``sys.stderr``
passes the guards of this module. They show such letters as escapes, ``\\x1b`` or ``\\u202e``. Files keep the text as it is.
Joiners (U+200C, U+200D), which Persian, Hindi and emoji need, are shown as they are.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable
from typing import Any

from magic_cli.errors import MagicError

_UNSAFE = (
    *range(0x20), *range(0x7F, 0xA0),  # control characters
    0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x2070),  # writing direction
    0x2028, 0x2029,  # line and paragraph separators
    0x115F, 0x1160, 0x180E, 0x200B, *range(0x2060, 0x2066), 0x3164, 0xFEFF, 0xFFA0, *range(0xFFF9, 0xFFFC),  # invisible letters
    *range(0xE0000, 0xE0080),  # tags: invisible plain text
    *range(0xD800, 0xE000),  # bytes of a file name that are not UTF-8
)  # fmt: skip
# JSON has only \u escapes, and already writes control characters below 32 in this way: so JSON on stdout stays valid JSON
_LINE = {
    number: f"\\x{number:02x}" if number < 0x20 else json.dumps(chr(number))[1:-1] if number > 0xFFFF else f"\\u{number:04x}"
    for number in _UNSAFE
}
_TEXT = {number: escape for number, escape in _LINE.items() if chr(number) not in "\n\t"}
_CURSOR = re.compile(r"(?:[\r\n]|\x1b\[A)*")
"""What tqdm writes to move between its bars, and nothing else."""
_OWN = "magic: "
"""The beginning of every line of magic on stderr."""


def one_line(text: str) -> str:
    """Text as part of a line: anything that would break the line or its columns is escaped, too.

    >>> print(one_line("a\\tb\\x1b[31m\\nmagic: done"))
    a\\x09b\\x1b[31m\\x0amagic: done
    """
    return text.translate(_LINE)


def print_line(*columns: str) -> None:
    """Print one line on stdout at once, its columns separated by tabs, whatever they contain."""
    print("\t".join(map(one_line, columns)), flush=True)


def guard_streams() -> None:
    """Put the guards in front of ``sys.stdout`` and ``sys.stderr``, once. A closed stream becomes the null device."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # the stream is closed: else the next opened file would get its number
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115 - stays open as long as the program runs
    for name, guard in (("stdout", _Stdout), ("stderr", _Stderr)):
        stream = getattr(sys, name)
        if stream is None:
            stream = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - stays open as long as the program runs
        if not isinstance(stream, _Guard):
            if hasattr(stream, "reconfigure"):  # a letter that the terminal's encoding lacks must not end the run
                stream.reconfigure(errors="backslashreplace")
            setattr(sys, name, guard(stream))


def discard_output() -> None:
    """Throw away what a stream still buffers after its reader has gone."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            _to_nowhere(stream)


def _to_nowhere(stream: Any) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


class _Guard:
    """A text stream in front of another one; everything written passes through ``_shown``."""

    def __init__(self, stream: Any) -> None:
        self._behind = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._behind, name)

    def write(self, text: str) -> int:
        """Write with escapes; returns the number of letters before escaping."""
        self._try(self._behind.write, self._shown(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write the lines one after the other."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Write out the buffer."""
        self._try(self._behind.flush)

    def _try(self, action: Any, *arguments: str) -> None:
        try:
            action(*arguments)
        except BrokenPipeError:
            raise  # the reader has gone, which is not an error
        except OSError as error:
            _to_nowhere(self._behind)  # the buffer must not fail again when Python ends
            self._failed(error)

    def _shown(self, text: str) -> str:
        raise NotImplementedError(f"{type(self).__name__}._shown")

    def _failed(self, error: OSError) -> None:
        raise NotImplementedError(f"{type(self).__name__}._failed")


class _Stdout(_Guard):
    """The stream of results. Code that prints a name or a text as part of a line uses ``one_line``."""

    def _shown(self, text: str) -> str:
        return text.translate(_TEXT)

    def _failed(self, error: OSError) -> None:
        raise MagicError(
            f"standard output cannot be written ({error.strerror}); free some space, or send it to another place"
        ) from error


class _Stderr(_Guard):
    """Notes, logs, warnings and progress. Each is written in one piece, so that line breaks inside it can be recognised."""

    def _shown(self, text: str) -> str:
        if _CURSOR.fullmatch(text):
            return text
        redraws = text.startswith("\r")  # tqdm draws its bar again from the beginning of the line
        body = text.removeprefix("\r") if redraws else text
        ending = "\n" if body.endswith("\n") else ""
        body = body.removesuffix("\n")
        # a line of a library or a traceback must never look like a line of magic
        shown = one_line(body) if body.startswith(_OWN) else body.translate(_TEXT).replace("\n", "\n  ")
        return "\r" * redraws + shown + ending

    def _failed(self, error: OSError) -> None:
        """There is no stream left for a message; the work continues."""
