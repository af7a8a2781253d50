"""What a language model's tokenizer and configs say, without its weights: prompts, texts of token ids, tokens that are not text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

from magic_cli.errors import MagicError
from magic_cli.models.language.positions import most_positions

_SPACE = "Ġ"
"""How byte-level vocabularies spell a space."""
DEFAULT_START_TOKEN = "<-start_of_text->"

_CONTROL = re.compile(r"<\|.*\|>|<-.*->")
"""Form of tokens that steer a model. The tokenizer is not asked: some add ``<|im_end|>`` as if it were a word."""
_MARKUP = re.compile(r"<.+>|\[.+\]")
"""Form of tokens that a config may name as an end. A config's default id can be a plain word of this vocabulary."""

# The replacements that tokenizers made by default (clean_up_tokenization_spaces) when the published models were
# run; today's byte-level tokenizers ignore that switch, so the same replacements are made here, in the same order.
_CLEAN_UP = [(" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m"), (" 's", "'s"),
             (" 've", "'ve"), (" 're", "'re")]  # fmt: skip


def clean_up_spaces(text: str) -> str:
    """Remove the space before punctuation and contractions.

    >>> clean_up_spaces("a dog , isn 't it ?")
    "a dog, isn 't it?"
    """
    for spaced, joined in _CLEAN_UP:
        text = text.replace(spaced, joined)
    return text


class Tokens:
    """The tokenizer side of a language model.

    Args:
        tokenizer: Its tokenizer.
        config: Its config.
        generation_config: Its generation config, if it has one.
        start_token: Token that opens a caption. None: ``<-start_of_text->`` if the tokenizer has it, else its own
            begin-of-text token, else none.
        clean_up_spaces: Whether decoded text loses the space before punctuation, as the released models' did.

    Attributes:
        vocab_size: Tokens that the model scores.
        positions: Most tokens that it reads; None: no limit is known.
        end_id: The tokenizer's end-of-text token, which also stands between title and story.
        end_ids: All tokens that end a text.
        special_ids: Tokens that stand in no text: start, ends, and all that only steer a model.

    Raises:
        MagicError: The tokenizer lacks the start token that was named, or has no end-of-text token.
    """

    def __init__(
        self,
        tokenizer: Any,
        config: Any,
        generation_config: Any = None,
        *,
        start_token: str | None = None,
        clean_up_spaces: bool = True,
    ) -> None:
        self.tokenizer = tokenizer
        self.vocab_size: int = config.get_text_config().vocab_size
        self.positions = most_positions(config)
        vocabulary = tokenizer.get_vocab()
        control = _control_ids(tokenizer, vocabulary)
        if tokenizer.eos_token_id is None:
            raise MagicError("language_model: the tokenizer has no end-of-text token; set eos_token in its tokenizer_config.json")
        self.end_id: int = tokenizer.eos_token_id
        self.end_ids = frozenset(
            {self.end_id, *_named_ends(tokenizer, (config, config.get_text_config()), generation_config, control)}
        )
        self.start_id = self._find_start(start_token, vocabulary)
        self.special_ids = frozenset(control | self.end_ids)
        if self.start_id is not None:
            self.special_ids |= {self.start_id}
        self._clean_up = clean_up_spaces

    def _find_start(self, start_token: str | None, vocabulary: dict[str, int]) -> int | None:
        if start_token is not None:
            if start_token not in vocabulary:
                raise MagicError(
                    f"language_model.start_token={start_token!r} is not in the tokenizer's vocabulary; "
                    "name one of its tokens, or set null to use its own begin-of-text token"
                )
            return vocabulary[start_token]
        if DEFAULT_START_TOKEN in vocabulary:
            return vocabulary[DEFAULT_START_TOKEN]
        return self.tokenizer.bos_token_id

    @property
    def begin_id(self) -> int:
        """Token that parted texts in training: begin-of-text, or end-of-text where there is none."""
        return self.end_id if self.tokenizer.bos_token_id is None else self.tokenizer.bos_token_id

    def encode_prompt(self, prompt: str | None) -> list[int]:
        """Token ids that open a caption: the start token if the model has one, then the prompt's words.

        Raises:
            MagicError: There is neither a start token nor a prompt.
        """
        words = self.encode(prompt) if prompt else []
        ids = ([] if self.start_id is None else [self.start_id]) + words
        if not ids:
            raise MagicError("this language model has no start token: set prompt='...' or language_model.start_token=TOKEN")
        return ids

    def encode(self, text: str) -> list[int]:
        """Token ids of ``text``; special tokens written in it are recognised, none is added."""
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def decode(self, sequences: Sequence[Sequence[int]]) -> list[str]:
        """Text of each sequence, special tokens left out, spaces cleaned up."""
        special = self.special_ids
        return self._decode([[i for i in ids if i not in special] for ids in sequences])

    def token_texts(self, ids: Iterable[int]) -> list[str]:
        """What each token looks like by itself, special ones included."""
        return self._decode([[i] for i in ids])

    def _decode(self, sequences: list[list[int]]) -> list[str]:
        texts = self._texts(sequences)
        return [clean_up_spaces(text) for text in texts] if self._clean_up else texts

    def _texts(self, sequences: list[list[int]]) -> list[str]:
        """As the tokenizer decodes them. Of a byte-level tokenizer the tokens' own texts are joined, which is much quicker."""
        plain = self._plain_texts
        texts = ["".join([plain.get(i, "") for i in ids]) for ids in sequences]
        others = [place for place, ids in enumerate(sequences) if not all(i in plain for i in ids)]
        if others:
            ids_of_others = [sequences[place] for place in others]
            decoded = self.tokenizer.batch_decode(ids_of_others, skip_special_tokens=False, clean_up_tokenization_spaces=False)
            for place, text in zip(others, decoded, strict=True):
                texts[place] = text
        return texts

    @cached_property
    def _plain_texts(self) -> dict[int, str]:
        """Texts of the tokens that are printable ASCII, of a byte-level tokenizer: it decodes to the bytes of one token after another."""
        decoder = getattr(getattr(self.tokenizer, "backend_tokenizer", None), "decoder", None)
        if type(decoder).__name__ != "ByteLevel":
            return {}
        added = self.tokenizer.added_tokens_decoder
        return {
            i: token.replace(_SPACE, " ")
            for token, i in self.tokenizer.get_vocab().items()
            if i not in added and " " not in token and (bare := token.replace(_SPACE, "")).isascii() and bare.isprintable()
        }


def _control_ids(tokenizer: Any, vocabulary: dict[str, int]) -> frozenset[int]:
    """Tokens that only steer a model: those that the tokenizer calls special, and those of the usual form."""
    flagged = {i for i, token in getattr(tokenizer, "added_tokens_decoder", {}).items() if token.special}
    formed = {i for text, i in vocabulary.items() if text.startswith("<") and _CONTROL.fullmatch(text)}
    return frozenset({*tokenizer.all_special_ids, *flagged, *formed})


def _named_ends(tokenizer: Any, configs: Sequence[Any], generation_config: Any, control: frozenset[int]) -> set[int]:
    """Tokens that the configs say end a text, and that can be meant.

    A config's default may name a word of another tokenizer's vocabulary (GPT-2's is 50256), so of a config only tokens count
    that can be no words. A generation config that was not copied from the config was written on purpose and counts whole.
    """
    copied = getattr(generation_config, "_from_model_config", False)
    on_purpose = set() if copied else set(_as_ids(generation_config))
    named = {i for config in (*configs, generation_config) for i in _as_ids(config)}
    return on_purpose | {i for i in named if i in control or _MARKUP.fullmatch(_text_of(tokenizer, i))}


def _as_ids(config: Any) -> list[int]:
    """``eos_token_id`` of a config: none, one or several."""
    ids = getattr(config, "eos_token_id", None)
    found = ids if isinstance(ids, list | tuple) else [ids]
    return [i for i in found if isinstance(i, int) and i >= 0]


def _text_of(tokenizer: Any, token: int) -> str:
    """A token as the vocabulary spells it; of none that there is an empty text."""
    return tokenizer.convert_ids_to_tokens(token) or "" if token < len(tokenizer) else ""
