"""What every token of a language model writes inside a text, as bytes, whatever the kind of its tokenizer.

A token may be a part of a character only: byte-level tokenizers and byte fallback spell what is rare byte by byte. All is
found through the model's ``decode``.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from weakref import WeakKeyDictionary

from magic_cli.decoding.protocols import LanguageModel

SEPARATOR = b"\xff"
"""Text of a token that ends a text: no character, joins nothing."""

_UNREADABLE = "\ufffd"
_MAX_TRIES = 256

_known: WeakKeyDictionary[LanguageModel, list[bytes]] = WeakKeyDictionary()


def token_texts(model: LanguageModel) -> list[bytes]:
    """The UTF-8 bytes of all V tokens as they stand in the middle of a text, found once a model.

    An end token is ``SEPARATOR``, and the start token, which is no part of a caption, is empty.
    """
    if model not in _known:
        _known[model] = _read(model)
    return _known[model]


def _read(model: LanguageModel) -> list[bytes]:
    reader = _Reader(model)
    texts = reader.inside([[i] for i in range(model.vocab_size)])
    as_bytes = [text.encode() for text in texts]
    parts = [i for i, text in enumerate(texts) if _UNREADABLE in text]
    for token, found in _bytes_of_parts(reader, parts, [i for i in parts if texts[i] == _UNREADABLE]).items():
        as_bytes[token] = found
    if model.start_id is not None:
        as_bytes[model.start_id] = b""
    for end in model.end_ids:
        if end < len(as_bytes):
            as_bytes[end] = SEPARATOR
    return as_bytes


class _Reader:
    """Decodes behind an anchor: some tokenizers change the beginning of a text, none what follows a word."""

    def __init__(self, model: LanguageModel) -> None:
        self.model = model
        self.anchor, self.lead = self._find_anchor()

    def _find_anchor(self) -> tuple[list[int], str]:
        """One letter that is no byte token: byte fallback reads these together with the broken ones next to them."""
        texts = self.model.decode([[i] for i in range(self.model.vocab_size)])
        broken = [i for i, text in enumerate(texts) if text == _UNREADABLE][:1]
        for i, text in enumerate(texts):
            # none of the letters that the clean-up of spaces looks at
            if len(text) == 1 and text.isascii() and text.isalpha() and text not in "nN":
                if self.model.decode([[i, *broken]])[0].startswith(text):
                    return [i], text
        return [], ""

    def inside(self, sequences: Sequence[Sequence[int]]) -> list[str]:
        """What each sequence of tokens writes in the middle of a text."""
        return [text.removeprefix(self.lead) for text in self.model.decode([[*self.anchor, *ids] for ids in sequences])]


def _bytes_of_parts(reader: _Reader, parts: list[int], singles: list[int]) -> dict[int, bytes]:
    """The bytes of the tokens that hold a part of a character, seen between bytes that complete it.

    Args:
        reader: Decodes.
        parts: The tokens.
        singles: Those of them that are nothing but one part.

    Returns:
        By token; a token that no text can hold in full is missing.
    """
    lead, followers, longer = _find_bytes(reader, singles)
    if not followers:
        return {}
    low, middle, high = (followers.get(byte, -1) for byte in (0x80, 0x90, 0xA0))
    before = [[], [lead], *([token] for token in longer)]
    after = [[], [low], [low, low], [high, low], [low, low, low], [middle, low, low]]
    found: dict[int, bytes] = {}
    for head, tail in product(before, after):
        if -1 in tail:
            continue
        left = [token for token in parts if token not in found]
        for token, text in zip(left, reader.inside([[*head, token, *tail] for token in left]), strict=True):
            if _UNREADABLE not in text:
                written = text.encode()
                found[token] = written[len(head) : len(written) - len(tail)]
    return found


def _find_bytes(reader: _Reader, singles: list[int]) -> tuple[int, dict[int, int], list[int]]:
    """Tokens that are one byte each, of those that are one part of a character.

    Returns:
        A token that opens a character of two bytes; the tokens of the bytes 0x80 to 0xBF that go on with a character, by byte;
        tokens that open a character of three and of four bytes and take any such byte next.
    """
    lead = next((token for last in singles[:_MAX_TRIES] for token in _openers(reader, singles, last)), -1)
    if lead == -1:
        return -1, {}, []
    followers: dict[int, int] = {}
    for token, text in zip(singles, reader.inside([[lead, token] for token in singles]), strict=True):
        if len(text) == 1 and text != _UNREADABLE:
            followers.setdefault(text.encode()[-1], token)
    low = followers.get(0x80)
    longer = []
    for number, wanted in ((2, "\u1000"), (3, "\U00040000")):  # bytes E1 and F1
        if low is not None:
            texts = reader.inside([[token, *[low] * number] for token in singles])
            longer += [token for token, text in zip(singles, texts, strict=True) if text == wanted][:1]
    return lead, followers, longer


def _openers(reader: _Reader, singles: list[int], last: int) -> list[int]:
    """The tokens that make a character of two bytes together with ``last``."""
    texts = reader.inside([[token, last] for token in singles])
    return [token for token, text in zip(singles, texts, strict=True) if len(text) == 1 and 0x80 <= ord(text) < 0x800]
