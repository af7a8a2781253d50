"""Which tokens would write a forbidden word, however the word is spelled in tokens.

All is decided on text: the tokens so far are joined as bytes, a word may begin in one token and end in another. Upper and
lower case, composed and decomposed accents, straight and curly apostrophes, and one or more spaces are the same.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import chain

_SAME = str.maketrans({"\u2018": "'", "\u2019": "'", "\u02bc": "'", "\u2010": "-", "\u2011": "-"})
_SPACES = re.compile(r"\s+")
_UNEVEN = re.compile(r"\s\s|[^\S ]")
# spaces that the clean-up of decoded text removes: a word has them or not
_REMOVED = re.compile(r"(?<=.) (?=[.?!,']|n't)|(?<=') (?=.)")
_CLEANED = re.compile(r"(?<=.)(?=[.?!,']|n't)|(?<=')(?=.)")
# scripts without spaces: Thai and Lao, Burmese, Khmer, kana, Chinese characters
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_LAST = chr(0x10FFFF)
_UNREADABLE = "\ufffd"


def fold(text: str) -> str:
    """Text in which everything that counts as the same is the same; runs of white space become one space.

    >>> fold("Don\\u2019t  SHOUT")
    "don't shout"
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKD", text).translate(_SAME)
    text = text.casefold()
    return _SPACES.sub(" ", text) if _UNEVEN.search(text) else text


@cache
def _is_mark(character: str) -> bool:
    return unicodedata.category(character).startswith("M")


@cache
def _joins(character: str) -> bool:
    """Whether a word goes on with this character: a letter, a digit or an accent of a script that puts spaces between words."""
    return (character.isalnum() or _is_mark(character)) and not _UNSPACED.match(character)


class Word:
    """A forbidden word or phrase, folded.

    Args:
        text: As the user writes it, not blank.
    """

    def __init__(self, text: str) -> None:
        self.text = _REMOVED.sub("", fold(text).strip())
        self.loose = {match.start() for match in _CLEANED.finditer(self.text)}
        """Places before which a text may have one space more."""
        self.spelled = "".join((" ?" if i in self.loose else "") + re.escape(c) for i, c in enumerate(self.text))
        """Regular expression of its characters."""
        self._pattern = re.compile(f"(?=({self.spelled}))")  # looks at every place, also inside a find

    def may_follow(self, before: str) -> bool:
        """Whether the word may begin directly after this character ("" at the beginning of a text)."""
        return not (before and _joins(before) and _joins(self.text[0]))

    def may_precede(self, after: str) -> bool:
        """Whether the word may end directly before this character ("" at the end of a text)."""
        return not after or not (_is_mark(after) or (_joins(after) and _joins(self.text[-1])))

    def is_inside(self, text: str) -> bool:
        """Whether a folded text holds the word behind its first character."""
        return any(
            self.may_follow(text[match.start() - 1]) and self.may_precede(text[match.end(1) : match.end(1) + 1])
            for match in self._pattern.finditer(text, 1)
        )

    def places(self, text: str) -> Iterator[int]:
        """How many of its characters may already stand at the end of a folded text: at least 1, never all."""
        for place in range(1, len(self.text)):
            start = self._start(text, place)
            if start is not None and self.may_follow(text[start - 1 : start]):
                yield place

    def _start(self, text: str, place: int) -> int | None:
        """Where the first ``place`` characters begin that end the text; None if they do not."""
        at = len(text)
        for i in range(place, 0, -1):
            if i in self.loose and text[at - 1 : at] == " ":
                at -= 1
            if not at or text[at - 1] != self.text[i - 1]:
                return None
            at -= 1
        return at


class _Vocabulary:
    """Tokens by their folded texts, sorted, so that those with one beginning lie together."""

    def __init__(self, words: Sequence[Word], texts: dict[int, str]) -> None:
        self.words = words
        ordered = sorted((text, token) for token, text in texts.items())
        self.texts = [text for text, _ in ordered]
        self.tokens = [token for _, token in ordered]
        spelled = re.compile("|".join(word.spelled for word in words))  # one quick look, before words are looked at one by one
        self.always = frozenset(
            token for token, text in texts.items() if spelled.search(text, 1) and any(word.is_inside(text) for word in words)
        )
        """Tokens that hold a word whatever stands before them."""
        self._known: dict[tuple[int, int, bool], frozenset[int]] = {}

    def completing(self, index: int, place: int, *, after_space: bool) -> frozenset[int]:
        """Tokens that begin with what a word lacks after its first ``place`` characters, and end the word there."""
        key = index, place, after_space
        if key not in self._known:
            self._known[key] = frozenset(self._find(self.words[index], place, after_space))
        return self._known[key]

    def _find(self, word: Word, place: int, after_space: bool) -> Iterator[int]:
        beginnings = ["", " "] if after_space else [""]
        for i in range(place, len(word.text)):
            spaces = ("", " ") if i in word.loose else ("",)
            longer = {beginning + space + word.text[i] for beginning in beginnings for space in spaces}
            beginnings = [beginning for beginning in longer if self._range(beginning)]
        for beginning in beginnings:
            for k in self._range(beginning):
                if word.may_precede(self.texts[k][len(beginning) : len(beginning) + 1]):
                    yield self.tokens[k]

    def _range(self, beginning: str) -> range:
        return range(bisect_left(self.texts, beginning), bisect_left(self.texts, beginning + _LAST))


@dataclass(frozen=True)
class Situation:
    """All of a text so far that decides which tokens may not come next."""

    begun: frozenset[tuple[int, int]] = frozenset()
    """Words whose beginning stands at the end: (index of the word, how many characters)."""
    before: str = ""
    """The last character; "" if there is none, or it is of no account."""
    pending: bytes = b""
    """First bytes of a character that is not complete."""


class WordWatch:
    """Watches over forbidden words.

    Args:
        words: Words and phrases, none blank.
        texts: The bytes of each token inside a text (see ``token_texts.py``); characters are taken as UTF-8.
    """

    def __init__(self, words: Sequence[str], texts: Sequence[bytes]) -> None:
        self.words = list({word.text: word for word in map(Word, words)}.values())
        self.texts = texts
        folded = [fold(text.decode(errors="replace")) for text in texts]
        self._vocabulary = _Vocabulary(self.words, dict(enumerate(folded)))
        self._going_on = frozenset(token for token, text in enumerate(texts) if text and 0x80 <= text[0] < 0xC0)
        """Tokens that begin inside a character."""
        self._sizes = [len(text) - text.count(" ") - text.count(_UNREADABLE) for text in folded]
        # one character before the word, and one that may be cut in two
        self._window = max((len(word.text) for word in self.words), default=0) + 2
        self._joined = lru_cache(maxsize=64)(self._join)

    def situation(self, prompt: Sequence[int], generated: Sequence[int]) -> Situation:
        """What of the tokens so far decides which may come next."""
        reader = codecs.getincrementaldecoder("utf-8")("replace")
        text = fold(reader.decode(self._tail(prompt, generated)))
        begun = frozenset((index, place) for index, word in enumerate(self.words) for place in word.places(text))
        before = text[-1:]
        if before != " ":
            before = "x" if before and _joins(before) else ""
        return Situation(begun, before, reader.getstate()[0])

    def _tail(self, prompt: Sequence[int], generated: Sequence[int]) -> bytes:
        """The last bytes of the text: as many as a word can reach back, however many spaces it has."""
        parts, size = [], 0
        for token in chain(reversed(generated), reversed(prompt)):
            if token >= len(self.texts):
                continue  # the model reads it, but never writes it
            parts.append(self.texts[token])
            size += self._sizes[token]
            if size >= self._window:
                break
        return b"".join(reversed(parts))

    def forbidden(self, situation: Situation) -> list[int]:
        """The tokens that would complete a word, in ascending order."""
        if not situation.pending:
            return sorted(self._completing(self._vocabulary, situation))
        cut_off = self._completing(self._vocabulary, Situation())  # an incomplete character is none, and joins nothing
        joined = self._completing(self._joined(situation.pending), situation)
        return sorted((cut_off - self._going_on) | joined)

    def _completing(self, vocabulary: _Vocabulary, situation: Situation) -> frozenset[int]:
        after_space = situation.before == " "
        whole = [(index, 0) for index, word in enumerate(self.words) if word.may_follow(situation.before)]
        sets = [vocabulary.completing(index, place, after_space=after_space) for index, place in chain(situation.begun, whole)]
        return vocabulary.always.union(*sets)

    def _join(self, pending: bytes) -> _Vocabulary:
        """The tokens that begin inside a character, with its first bytes."""
        joined = {token: (pending + self.texts[token]).decode(errors="replace") for token in self._going_on}
        return _Vocabulary(self.words, {token: fold(text) for token, text in joined.items()})
