"""Token ids of many texts that begin alike: pieces that were read before are joined. For tokenizers that never look across a space.

A step's candidates differ by a word at most, and reading them whole takes most of the time of large batches on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain

_MOST_PIECES = 1 << 16
_PROBE = [
    "",
    "a",
    "two dogs",
    "two dogs, running over grass.",
    "the sky isn't BLUE - it's 3 o'clock 1999",
    "a  b",
    " a ",
    "word " * 400,
    "longword" * 100,
]


def word_tokens(tokenize: Callable[[Sequence[str]], list[list[int]]], length: int) -> WordTokens | None:
    """A ``WordTokens``, if it reads a few odd texts as ``tokenize`` does; None: the tokenizer does look across spaces."""
    whole = tokenize(_PROBE)
    if len(whole[0]) != 2:
        return None
    by_word = WordTokens(tokenize, length)
    return by_word if by_word(_PROBE) == whole else None


class WordTokens:
    """A tokenizer that reads the last word of a text and the part before it separately, and each of them only once.

    A text with "&", "<" or a character outside printable ASCII is read whole, since tokenizers may change such a text as a whole: they
    mend its encoding, read HTML, or find special tokens.

    Args:
        tokenize: Texts -> their token ids, with start and end token, at most ``length``; it never looks across a space.
        length: Most tokens of a text.
    """

    def __init__(self, tokenize: Callable[[Sequence[str]], list[list[int]]], length: int) -> None:
        self._tokenize, self._length = tokenize, length
        self._start, self._end = tokenize([""])[0]
        self._known: dict[str, list[int]] = {"": []}

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, as ``tokenize`` gives them."""
        if len(self._known) > _MOST_PIECES:
            self._known = {"": []}
        pieces, known, most = [_cut(text) for text in texts], self._known, self._length - 2
        unknown = [piece for piece in dict.fromkeys(chain.from_iterable(pieces)) if piece not in known]
        if unknown:
            known.update(zip(unknown, (ids[1:-1] for ids in self._tokenize(unknown)), strict=True))
        return [[self._start, *(known[head] + known[tail])[:most], self._end] for head, tail in pieces]


def _cut(text: str) -> tuple[str, str]:
    """Cut a text before the space in front of its last word.

    >>> _cut("a dog runs"), _cut("dogs"), _cut("a café bar")
    (('a dog', ' runs'), ('dogs', ''), ('a café bar', ''))
    """
    place = text.rfind(" ")
    if place < 0 or not (text.isascii() and text.isprintable()) or "&" in text or "<" in text:
        return text, ""
    return text[:place], text[place:]
