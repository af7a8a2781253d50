"""Unfinished captions to train the embedded matcher on, because decoding scores sentences that are still growing.

Two kinds: prefixes, to be told apart across photos, and alternatives for the next word, to be told apart for one photo.
"""

import random
from collections.abc import Iterable
from itertools import accumulate

_START = "<s>"


def draw_prefixes(caption: str, count: int, rng: random.Random) -> list[str]:
    """Cut a caption at random places: once early, then anywhere, the last time inside a word.

    Args:
        caption: at least one word.
        count: number of prefixes, at least 2.
        rng: decides the places.

    Returns:
        ``count`` strings. Subword candidates end inside a word too, hence the last one.
    """
    words = caption.split()
    prefixes = []
    for number in range(count):
        length = rng.randint(1, max(1, len(words) - 1)) if number else rng.randint(1, min(4, len(words)))
        prefixes.append(" ".join(words[:length]))
    spare = max(0, len(words[length - 1]) - 2)  # two letters of the last word stay
    prefixes[-1] = prefixes[-1][: len(prefixes[-1]) - rng.randint(0, spare)]
    return prefixes


class NextWords:
    """A trigram model of captions that offers other words for a place in a caption.

    Telling the true word from what a language model would also have said is what the matcher is asked for at each step of
    decoding, and drawing the others in proportion to their counts keeps it from re-learning which words are frequent.
    """

    def __init__(self, captions: Iterable[str], rng: random.Random):
        """Count the captions.

        Args:
            captions: text to learn from; only training captions may be given.
            rng: makes every later choice.
        """
        counts: dict[tuple[str, ...], dict[str, int]] = {}
        for caption in captions:
            words = [_START, _START, *caption.lower().split()]
            for end in range(2, len(words)):
                for history in ((words[end - 2], words[end - 1]), (words[end - 1],), ()):
                    row = counts.setdefault(history, {})
                    row[words[end]] = row.get(words[end], 0) + 1
        self._tables = {history: (list(row), list(accumulate(row.values()))) for history, row in counts.items()}
        self._rng = rng

    def draw(self, caption: str, count: int) -> list[str]:
        """Pick a place in a caption and write ``count`` texts up to it that differ in the last word.

        Args:
            caption: at least one word.
            count: number of texts.

        Returns:
            ``count`` texts, the true one first.
        """
        words = caption.split()
        place = self._rng.randint(0, len(words) - 1)
        history = tuple([_START, _START, *(word.lower() for word in words)][place : place + 2])
        choices, seen, tries = [words[place]], {words[place].lower()}, 0
        while len(choices) < count:
            word, tries = self._word_after(history), tries + 1
            if word not in seen or tries > 60:  # a tiny vocabulary may have no other word
                choices.append(word)
                seen.add(word)
        return [" ".join([*words[:place], word]) for word in choices]

    def _word_after(self, history: tuple[str, ...]) -> str:
        """Draw a word after two given words, now and then from a shorter history for variety."""
        luck = self._rng.random()
        history = history if luck < 0.65 else history[1:] if luck < 0.95 else ()
        while history not in self._tables:
            history = history[1:]
        words, cumulative = self._tables[history]
        return self._rng.choices(words, cum_weights=cumulative)[0]
