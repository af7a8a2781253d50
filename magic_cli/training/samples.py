"""Turns texts into samples: token ids as the language model reads them in training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from magic_cli.data.training_files import TextForm
from magic_cli.errors import MagicError
from magic_cli.terminal.progress import progress
from magic_cli.terminal.wording import counted

_CHUNK = 10_000  # texts that are tokenised together


@dataclass(frozen=True)
class Samples:
    """Token ids of many texts.

    Attributes:
        rows: Ids of each sample, with start and end token.
        num_words: Words of all samples, separated by white space.
        num_dropped: Texts that were left out because they have one token or none, so that there is nothing to learn.
        num_cut: Texts that were too long and were cut.
    """

    rows: list[list[int]]
    num_words: int
    num_dropped: int
    num_cut: int

    @property
    def num_targets(self) -> int:
        """The number of predicted tokens: all but the first of each sample."""
        return sum(map(len, self.rows)) - len(self.rows)


def encode(texts: Sequence[str], tokenizer: Any, *, form: TextForm, start_id: int | None, max_length: int) -> Samples:
    """Make samples from texts.

    A caption becomes start token, at most ``max_length`` tokens, end token. A story ``title<TAB>story`` becomes
    ``title + ' ' + end + ' ' + story``, cut at ``max_length``, with nothing after it, as in the released code.

    Args:
        texts: The texts.
        tokenizer: The model's tokenizer.
        form: The form of the texts.
        start_id: Token that begins a caption; None: there is none, as for stories.
        max_length: The most tokens of a text.

    Raises:
        MagicError: No text has more than one token.
    """
    rows: list[list[int]] = []
    opening = [] if start_id is None else [start_id]
    num_words = num_cut = 0
    with progress(len(texts), "tokenizing", "text", leave=False) as bar:
        for start in range(0, len(texts), _CHUNK):
            chunk = [_joined(text, form, tokenizer.eos_token) for text in texts[start : start + _CHUNK]]
            for text, ids in zip(chunk, tokenizer(chunk, add_special_tokens=False)["input_ids"], strict=True):
                if len(ids) <= 1:
                    continue
                is_cut = len(ids) > max_length
                ids = ids[:max_length]
                num_cut += is_cut
                num_words += len((tokenizer.decode(ids) if is_cut else text).replace(tokenizer.eos_token, " ").split())
                rows.append(ids if form is TextForm.story else [*opening, *ids, tokenizer.eos_token_id])
            bar.update(len(chunk))
    if not rows:
        raise MagicError(
            f"dataset: none of {counted(len(texts), 'text')} has more than one token; there is nothing to learn from"
        )
    return Samples(rows, num_words, num_dropped=len(texts) - len(rows), num_cut=num_cut)


def _joined(text: str, form: TextForm, end: str) -> str:
    if form is TextForm.caption:
        return text
    title, tab, story = text.partition("\t")
    if not tab:
        raise MagicError(
            f"dataset.form=story: a text has no tab between title and story ({text[:60]!r}); set dataset.form=caption"
        )
    return f"{title} {end} {story}"
