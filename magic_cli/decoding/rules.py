"""Rules on the next token: scores in, scores out, nothing mutated.

R rows, V vocabulary. A rule is called with the scores of all rows, and each row's tokens so far; -inf means "may not come next".
What a rule gives a row depends on that row alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import chain
from os.path import commonprefix
from typing import Protocol

import torch
from torch import Tensor

from magic_cli.decoding.forbidden_words import Situation, WordWatch
from magic_cli.decoding.zerocap.shifting import make_less_likely
from magic_cli.errors import MagicError

_SHOWN = 5  # last tokens that an error names


class Rule(Protocol):
    """A rule on the next token."""

    def __call__(self, logits: Tensor, prompts: Sequence[Sequence[int]], generated: Sequence[Sequence[int]]) -> Tensor:
        """Scores (R, V) -> scores (R, V) of the same type and device; the input stays as it is."""


class RepetitionPenalty:
    """Makes every token of the text so far less likely, and of the prompt (Keskar et al. 2019, CTRL, section 4.1).

    As Hugging Face's ``generate`` does it: a positive score is divided by the penalty, a negative one is multiplied; how often
    a token occurred does not matter.

    Args:
        penalty: Greater than 0; 1 changes nothing, below 1 repetitions are favoured.
        of_prompt: Whether the prompt's tokens count. Hugging Face's ``generate`` does not see those of a prompt of vectors.
    """

    def __init__(self, penalty: float, *, of_prompt: bool = True) -> None:
        self.penalty, self.of_prompt = penalty, of_prompt

    def __call__(self, logits: Tensor, prompts: Sequence[Sequence[int]], generated: Sequence[Sequence[int]]) -> Tensor:
        texts = zip(prompts, generated, strict=True) if self.of_prompt else zip(generated, strict=True)
        used = [(row, token) for row, ids in enumerate(texts) for token in chain(*ids) if token < logits.shape[1]]
        if not used:
            return logits.clone()
        place = torch.tensor(used, device=logits.device).unbind(dim=1)
        scores = logits[place]
        changed = make_less_likely(scores, torch.ones_like(scores, dtype=torch.bool), self.penalty)
        limits = torch.finfo(logits.dtype)
        # a large score may leave the range of 16 bits, which is no reason to forbid the token
        changed = torch.where(scores.isfinite(), changed.clamp(limits.min, limits.max), scores)
        return logits.index_put(place, changed)  # a token that occurs twice gets the same value twice


class MinimumLength:
    """No end token before ``num_tokens`` tokens were generated, prompt not counted.

    Args:
        num_tokens: At least 0.
        end_ids: The tokens that end a text.
    """

    def __init__(self, num_tokens: int, end_ids: Iterable[int]) -> None:
        self.num_tokens, self.end_ids = num_tokens, sorted(end_ids)

    def __call__(self, logits: Tensor, prompts: Sequence[Sequence[int]], generated: Sequence[Sequence[int]]) -> Tensor:
        result = logits.clone()
        for row, ids in enumerate(generated):
            if len(ids) < self.num_tokens:
                result[row, [i for i in self.end_ids if i < logits.shape[1]]] = -torch.inf
        return result

    def and_for(self, end_id: int) -> MinimumLength:
        """The same with one more end token, which one method has."""
        return MinimumLength(self.num_tokens, {*self.end_ids, end_id})


class ForbiddenWords:
    """Words and phrases that a text may not get, however they are spelled in tokens.

    A token may not come next where the text so far and the token together would hold a word that ends in this token. Case does
    not matter, nor do the kind of apostrophe, the number of spaces, and spaces that the clean-up of decoded text would remove
    ("do n't"). A word that begins with a letter or digit does so after
    none, and likewise at its end: "cat" is not in "concatenate" nor in "cats". Scripts without spaces between words (Chinese,
    Japanese, Thai ...) have no such border: a word of theirs is forbidden inside others, too. The words of the prompt count as
    text so far; what the prompt holds already is no reason to forbid anything.

    The rule does not look ahead: after " cat" the text may end, so this token is forbidden even where "egory" would follow. The
    single token " category" is allowed.

    Args:
        words: Not blank; "t-shirt" and "hot dog" are words, too.
        token_texts: What each of the V tokens writes inside a text, as UTF-8 bytes (see ``token_texts.py``) or str.
    """

    def __init__(self, words: Sequence[str], token_texts: Sequence[bytes | str]) -> None:
        texts = [text.encode(errors="replace") if isinstance(text, str) else text for text in token_texts]
        self._watch = WordWatch(words, texts)
        self._forbidden = lru_cache(maxsize=1024)(self._find)

    def __call__(self, logits: Tensor, prompts: Sequence[Sequence[int]], generated: Sequence[Sequence[int]]) -> Tensor:
        result = logits.clone()
        for row, (prompt, ids) in enumerate(zip(prompts, generated, strict=True)):
            forbidden = self._forbidden(self._watch.situation(prompt, ids), logits.device)
            result[row].index_fill_(0, forbidden, -torch.inf)
        return result

    def _find(self, situation: Situation, device: torch.device) -> Tensor:
        return torch.tensor(self._watch.forbidden(situation), dtype=torch.long, device=device)


class ForcedSequences:
    """Token sequences that are always written to their end: once one is begun, nothing else may come.

    Which are begun is seen from the end of the generated tokens: the longest beginning of a sequence that stands there counts,
    with several sequences of that beginning any of them may go on. If the longest is a whole sequence, all is allowed again.

    Args:
        sequences: Not empty ones.
        begin_at: After so many generated tokens the first token of a sequence must come, unless one is under way; None: never.
        once: At most one sequence is written, and its tokens stand nowhere else; else they are words like others, too.
    """

    def __init__(self, sequences: Sequence[Sequence[int]], *, begin_at: int | None = None, once: bool = False) -> None:
        self.sequences, self.begin_at, self.once = [list(sequence) for sequence in sequences], begin_at, once
        self._first = {sequence[0] for sequence in self.sequences}
        self._later = {token for sequence in self.sequences for token in sequence[1:]} - self._first

    def __call__(self, logits: Tensor, prompts: Sequence[Sequence[int]], generated: Sequence[Sequence[int]]) -> Tensor:
        result = logits.clone()
        for row, ids in enumerate(generated):
            allowed = self._allowed(ids)
            if allowed is not None:
                kept = result[row, allowed]
                result[row] = -torch.inf
                result[row, allowed] = kept
            elif self.once:
                is_written = not self._first.isdisjoint(ids)
                result[row, sorted(self._later | self._first if is_written else self._later)] = -torch.inf
        return result

    def _allowed(self, generated: Sequence[int]) -> list[int] | None:
        """The tokens of which one must come next; None: all may."""
        for length in range(min(len(generated), max(map(len, self.sequences), default=0)), 0, -1):
            end = list(generated[len(generated) - length :])
            begun = [sequence for sequence in self.sequences if sequence[:length] == end]
            if begun:
                if any(len(sequence) == length for sequence in begun):
                    break
                return sorted({sequence[length] for sequence in begun})
        if self.begin_at == len(generated) and self.sequences:
            return sorted({sequence[0] for sequence in self.sequences})
        return None


class StopTexts:
    """Stop texts: a text ends before the first of them, but never before it has so many tokens.

    Args:
        texts: Not empty ones; upper and lower case differ. One that begins within the first ``min_length`` tokens ends nothing.
        decode: Token id lists -> their texts, as ``LanguageModel.decode``.
        min_length: Tokens that a text has at least, prompt not counted.
    """

    def __init__(
        self, texts: Sequence[str], decode: Callable[[Sequence[Sequence[int]]], list[str]], *, min_length: int = 0
    ) -> None:
        self.texts, self._decode, self.min_length = list(texts), decode, min_length

    def is_settled(self, generated: Sequence[int]) -> bool:
        """Whether the generated tokens hold a stop text."""
        return bool(self.texts) and len(generated) > self.min_length and self._find([], generated)[1] is not None

    def text(self, lead: Sequence[int], generated: Sequence[int]) -> str:
        """The text of ``lead`` and of the generated tokens before the earliest stop text, without white space at its end."""
        text, place = self._find(lead, generated)
        return text if place is None else text[:place].rstrip()

    def _find(self, lead: Sequence[int], generated: Sequence[int]) -> tuple[str, int | None]:
        """The whole text, and where the earliest stop text begins."""
        whole, untouched = self._decode([[*lead, *generated], [*lead, *generated[: self.min_length]]])
        start = len(commonprefix([whole, untouched]))  # what follows may have changed the end of it
        places = [place for stop in self.texts if (place := whole.find(stop, start)) >= 0]
        return whole, min(places, default=None)


def apply_rules(
    rules: Sequence[Rule], logits: Tensor, prompts: Sequence[Sequence[int]], generated: Sequence[Sequence[int]]
) -> Tensor:
    """Apply rules in order, (R, V) -> (R, V); without rules the scores themselves.

    Raises:
        MagicError: No token of a row may come next.
    """
    for rule in rules:
        logits = rule(logits, prompts, generated)
    if rules:
        blocked = (logits == -torch.inf).all(dim=-1).nonzero()[:1].flatten().tolist()
        for row in blocked:
            raise MagicError(
                f"rules: nothing may come next after {_described(generated[row])}; "
                "loosen rules.forbidden_words or rules.min_length"
            )
    return logits


def _described(generated: Sequence[int]) -> str:
    if not generated:
        return "the prompt"
    last = ", ".join(map(str, generated[-_SHOWN:]))
    return f"{len(generated)} generated tokens (the last token ids: {last})"
