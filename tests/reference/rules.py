"""The rules on the next token for one row, as plainly as they can be told: each returns the scores or tokens of that row."""

import re
import unicodedata
from collections.abc import Callable

import torch


def forbidden_by(rule, text: list[int], *, vocab_size: int, prompt: tuple[int, ...] = ()) -> set[int]:
    """The tokens that a rule of the package forbids after a text."""
    out = rule(torch.zeros(1, vocab_size), [list(prompt)], [text])
    return set((out[0] == -torch.inf).nonzero().flatten().tolist())


def repetition_penalty(logits: list[float], prompt: list[int], generated: list[int], penalty: float) -> list[float]:
    """The scores, with those of all tokens so far divided or multiplied."""
    result = list(logits)
    for token in {*prompt, *generated}:
        result[token] = logits[token] / penalty if logits[token] > 0 else logits[token] * penalty
    return result


def below_minimum(generated: list[int], num_tokens: int, end_ids: set[int]) -> set[int]:
    """The tokens that may not come next."""
    return set(end_ids) if len(generated) < num_tokens else set()


def has_ended(
    read: Callable[[list[int]], str], generated: list[int], stop_texts: list[str], min_length: int, end_ids: set[int]
) -> bool:
    """Whether a text holds an end token, or a stop text that begins behind its first tokens."""
    text = read([token for token in generated if token not in end_ids])
    behind = text[len(read(generated[:min_length])) :] if len(generated) > min_length else ""
    return bool(end_ids.intersection(generated)) or any(stop in behind for stop in stop_texts)


def forced(generated: list[int], sequences: list[list[int]], begin_at: int | None) -> set[int] | None:
    """The tokens of which one must come next; None: all may."""
    matches = []  # (tokens that stand at the end, token that follows)
    for sequence in sequences:
        for length in range(1, len(sequence) + 1):
            if len(generated) >= length and generated[-length:] == sequence[:length]:
                matches.append((length, sequence[length] if length < len(sequence) else None))
    longest = max((length for length, _ in matches), default=0)
    following = {token for length, token in matches if length == longest}
    if matches and None not in following:
        return following
    return {sequence[0] for sequence in sequences} if begin_at == len(generated) else None


def forbidden(words: list[str], decode: Callable[[list[int]], str], text: list[int], vocab_size: int) -> set[int]:
    """The tokens after which the text holds a word that it did not hold before: every token is appended and looked at.

    ``decode`` must write the end tokens as something that is no text.
    """
    # what is not complete yet may still change
    before = _same(decode(text).rstrip("\ufffd"))
    found = set()
    for token in range(vocab_size):
        after = _same(decode([*text, token]))
        for word in map(_same, words):
            for start in range(len(after)):
                match = re.compile(re.escape(word)).match(after, start)
                if match and match.end() > len(before.rstrip()) and _is_bordered(after, match):
                    found.add(token)
    return found


def _same(text: str) -> str:
    text = unicodedata.normalize("NFKD", text).casefold().replace("\u2019", "'")
    return re.sub(r"\s+", " ", text)


def _is_bordered(text: str, match: re.Match) -> bool:
    """No letter, digit or accent next to a letter or digit of the word."""
    before, after = text[: match.start()][-1:], text[match.end() :][:1]
    word = match.group()
    joins = lambda character: character.isalnum() or unicodedata.combining(character) > 0
    glued_before = before and joins(before) and joins(word[0])
    glued_after = after and joins(after) and joins(word[-1])
    return not (glued_before or glued_after)
