"""Captions as text: as lines that no evaluation tool misreads, and whether they say anything."""

from __future__ import annotations

import unicodedata

_CONTROL_CHARACTERS = (*range(0x20), *range(0x7F, 0xA0))
_SURROGATES = range(0xD800, 0xE000)
_REPLACEMENTS = dict.fromkeys(_CONTROL_CHARACTERS, " ") | dict.fromkeys(_SURROGATES, "\N{REPLACEMENT CHARACTER}")


def collapsed(text: str) -> str:
    r"""The text on one line: each run of white space and control characters becomes one space, none at either end.

    That covers every character at which Java, Python or the PTB lexer ends a line (``\n \r \v \f``, FS, GS, RS, U+0085,
    U+2028, U+2029), and NUL. Lone surrogates, which no UTF-8 file can hold, become U+FFFD.

    >>> collapsed("  A dog\r\nruns.\u2028\x00Fast\ud800 ")
    'A dog runs. Fast\ufffd'
    """
    found = " ".join(text.translate(_REPLACEMENTS).split())
    return text if found == text else found  # of a million texts, one copy is enough


def says_something(caption: str) -> bool:
    """Whether a caption has anything but punctuation, white space and control (or format) characters.

    >>> [says_something(caption) for caption in ("a dog", "\N{DOG FACE}", " \N{EM DASH}...!\N{ZERO WIDTH SPACE}", "")]
    [True, True, False, False]
    """
    return any(not _is_mute(unicodedata.category(character)) for character in caption)


def _is_mute(category: str) -> bool:
    # not all of C: an emoji that is newer than Python's tables is Cn
    return category[0] in "PZ" or category in ("Cc", "Cf")
