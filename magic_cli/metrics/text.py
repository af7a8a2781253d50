"""Captions as lines: what would break the one-caption-a-line protocols of the evaluation tools becomes a space."""

from __future__ import annotations

_CONTROL_CHARACTERS = (*range(0x00, 0x20), *range(0x7F, 0xA0))
_SURROGATES = range(0xD800, 0xE000)
_REPLACEMENTS = dict.fromkeys(_CONTROL_CHARACTERS, " ") | dict.fromkeys(_SURROGATES, "\N{REPLACEMENT CHARACTER}")


def one_line(text: str) -> str:
    r"""The text on one line: each run of white space and control characters becomes one space, none at either end.

    That covers every character at which Java, Python or the PTB lexer ends a line (``\n \r \v \f``, FS, GS, RS, U+0085,
    U+2028, U+2029), and NUL. Lone surrogates, which no UTF-8 file can hold, become U+FFFD.

    >>> one_line("  A dog\r\nruns.\u2028\x00Fast\ud800 ")
    'A dog runs. Fast\ufffd'
    """
    return " ".join(text.translate(_REPLACEMENTS).split())
