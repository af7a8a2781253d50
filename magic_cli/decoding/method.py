"""The base of decoding methods: a dataclass of settings that chooses the next token of every row at each step.

To add a method: one dataclass with a ``step`` here in ``decoding/``, one line in the table of methods, one YAML in
``configs/decoding/``, one test file. torch is imported when a step runs, so that settings load fast. A method that does
not go step by step derives from ``WholeTexts``: it writes whole texts, and is called by the same ``generate``.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, Self

from magic_cli import errors
from magic_cli.decoding.guides import Guide, ImageGuide
from magic_cli.decoding.protocols import ImageTextScorer, Vocabulary
from magic_cli.decoding.request import Request, Written
from magic_cli.decoding.step import Choice, Step
from magic_cli.errors import SettingsError

if TYPE_CHECKING:
    from torch import Tensor


class Method:
    """Base class of all methods, including those that find texts instead of writing them."""

    guides: Sequence[str] = ("image",)
    """Names of the guides, for methods that look at images."""

    @property
    def needs_image(self) -> bool:
        """Whether the method looks at the image."""
        return False

    @property
    def needs_language_model(self) -> bool:
        """Whether a language model takes part."""
        return True

    @property
    def writes_in_order(self) -> bool:
        """Whether a chosen token is final: the text is written from its first token to its last."""
        return False

    @property
    def writes_side_by_side(self) -> bool:
        """Whether the texts of a batch grow together; else one after the other, and a larger batch is no faster."""
        return True

    @property
    def without_effect(self) -> tuple[str, ...]:
        """Settings of the method that cannot change a result."""
        return ()

    @property
    def is_sampled(self) -> bool:
        """Whether the seed matters."""
        return False

    def load(self) -> Self:
        """The object that decodes with these settings: a copy, which may hold what ``open`` needs. Called once a run, before torch and the models are loaded.

        Raises:
            MagicError: Files that the method reads are missing or damaged.
        """
        return copy.copy(self)

    def open(self, viewers: Any) -> dict[str, Any]:
        """Get ready to decode, when the models are there. Returns, by name, what the manifest says of it under ``models``.

        Args:
            viewers: The image-text models of the run (``image_features.viewers.Viewers``).
        """
        return {}

    def check(self, model: Vocabulary, prompts: Sequence[Sequence[int]]) -> None:
        """Refuse a language model or prompts that the method cannot work with; by default nothing."""

    def image_guide(self, scorer: ImageTextScorer, vectors: Tensor) -> Guide:
        """The guide for images with features ``vectors`` (B, E)."""
        return ImageGuide(scorer, vectors)


class Chooser(Protocol):
    """Chooses the next token of every row of one batch."""

    def step(self, step: Step) -> Choice:
        """Choose the next token of every row."""


class WholeTexts(Method):
    """Base class of methods that write whole texts, instead of one token after the other in the common loop."""

    def write(self, request: Request) -> list[Written]:
        """The result for every prompt; it must not depend on the other prompts.

        Raises:
            MagicError: A model computes NaN (``refuse_nan``).
        """
        raise NotImplementedError(f"{type(self).__name__}.write")


@dataclass
class DecodingMethod(Method):
    """Base class of methods that write token by token; checks their common settings.

    Attributes:
        decoding_len: Tokens in all, prompt included (the paper's "decoding length"), 2 to 32,768 and at most the model's positions.
    """

    decoding_len: int

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise SettingsError(f"decoding.{item.name} must be a finite number, got {value}")
        require("decoding_len", self.decoding_len, at_least=2, limit=MOST_TOKENS)

    @property
    def rows_per_prompt(self) -> int:
        """Rows decoded for one prompt (the beam width of beam search)."""
        return 1

    @property
    def writes_in_order(self) -> bool:
        return self.rows_per_prompt == 1 and not isinstance(self, WholeTexts)

    @property
    def num_candidates(self) -> int:
        """How many tokens of a row one step looks ahead at."""
        return 1

    def check(self, model: Vocabulary, prompts: Sequence[Sequence[int]]) -> None:
        """Refuse settings that a language model cannot obey, before its weights are loaded.

        Args:
            model: The language model, or its tokenizer and sizes alone.
            prompts: Token ids of prompts; a few of them, or none, are enough.

        Raises:
            SettingsError: k exceeds the vocabulary, a text the model's positions, or a prompt fills ``decoding_len``.
        """
        if model.positions is not None and self.decoding_len > model.positions:
            raise SettingsError(
                f"decoding.decoding_len must be at most the language model's {model.positions} positions, got {self.decoding_len}"
            )
        longest = max(map(len, prompts), default=0)
        if longest >= self.decoding_len:
            raise SettingsError(
                f"decoding.decoding_len counts the prompt and must exceed its {longest} tokens, got {self.decoding_len}"
            )

    def begin(self, num_prompts: int) -> Chooser:
        """The object whose ``step`` is called for one batch: the method itself, unless it keeps a memory."""
        return self

    def step(self, step: Step) -> Choice:
        """Choose the next token of every row."""
        raise NotImplementedError(f"{type(self).__name__}.step")


MOST_TOKENS = 32_768
"""Limit of tokens per text: the masks of a text twice as long would need 16 GB."""
MOST_VOCABULARY = 1_000_000
MOST_BEAMS = 1000

require = partial(errors.require, prefix="decoding")
"""``errors.require`` for settings of a decoding method."""
require_weight = partial(errors.require_weight, prefix="decoding")


def check_vocabulary(k: int, model: Vocabulary) -> None:
    """Refuse more candidates than the model has tokens.

    Raises:
        SettingsError: It has fewer.
    """
    if k > model.vocab_size:
        raise SettingsError(f"decoding.k must be at most the vocabulary size {model.vocab_size}, got {k}")
