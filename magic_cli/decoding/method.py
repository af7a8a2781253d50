"""What a decoding method is: a dataclass of settings that, given a step, chooses the next token of every row.

To add a method: one dataclass with a ``step`` here in ``decoding/``, one line in ``settings.py``, one YAML in
``configs/decoding/``, one test file. torch is imported when a step runs, so that settings load fast. A method that cannot
be told as one step after the other is an ``OwnLoop``: it writes whole texts, behind the same ``generate``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Protocol

from magic_cli import errors
from magic_cli.decoding.step_memory import Evidence, StepMemory
from magic_cli.errors import MagicError, SettingsError
from magic_cli.protocols import ImageTextScorer, LanguageModel, LanguageModelState, Vocabulary

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass
class Guidance:
    """Images that steer the text, one for every prompt."""

    scorer: ImageTextScorer
    images: Tensor
    """(B, E) projected image features, not normalised."""


class Matcher(Protocol):
    """Binds each of R rows to its image."""

    def encode(self, texts: list[list[str]]) -> Tensor:
        """Features (R, K, E) of R x K texts."""

    def match(self, features: Tensor, similarity: str) -> Tensor:
        """Image-text match (R, K) of the features (R, K, E)."""


@dataclass
class Step:
    """Everything a method may look at when it chooses the next token of R rows."""

    model: LanguageModel
    state: LanguageModelState
    prompts: list[list[int]]
    generated: list[list[int]]
    """Tokens after the prompt, one list a row."""
    remaining: list[int]
    """Tokens each row may still get, this one included; at least 1."""
    generators: list[Generator]
    matcher: Matcher | None = None
    """None without guidance."""
    lazy: bool = True
    """Whether candidates that can no longer win need not be looked at."""
    ends: Callable[[int, int], bool] | None = None
    """``ends(row, token)``: whether the row's text ends with this token; None: a sole candidate is looked at, too, for a trace."""

    def peek(self, ids: Tensor, wanted: Tensor | None = None) -> Tensor:
        """Hidden states (R, K, H) of the candidates ``ids`` (R, K), or of those that are ``wanted`` (R, K), NaN for the rest.

        ``Choice.candidate`` may then name one.
        """
        return self.model.peek(self.state, ids, wanted)

    def uniform(self) -> Tensor:
        """(R,) one uniform number in [0, 1) from each row's own generator."""
        import torch

        return torch.stack([torch.rand((), generator=g, dtype=torch.float64) for g in self.generators])


@dataclass
class Choice:
    """The next token of every row, and how it came about."""

    tokens: Tensor
    """(R,) token ids."""
    candidate: Tensor | None = None
    """(R,) index of the token among the candidates of the last peek; None if the method did not peek."""
    parents: Tensor | None = None
    """(R,) row that each row continues (beam search); None: every row continues itself."""
    finished: dict[int, list[int]] | None = None
    """Prompts that the method itself declares done: {group of rows: generated tokens}. None: the loop decides."""
    faulty: Tensor | None = None
    """() bool: the language model gave NaN where it was asked; None if the method did not look."""
    close: Tensor | None = None
    """(R,) bool: so near a tie that the rounding of float32 may decide, so that the row is computed once more, alone; None: never."""
    evidence: Evidence | None = None
    """What the choice went by apart from the image; None if that depends on more than the text so far."""
    details: dict[str, Tensor | None] = field(default_factory=dict)
    """For the trace: (R, K) tensors by name; None, or NaN in it, for what was not evaluated."""


OnStep = Callable[[int, int, dict[str, Any]], None]
"""``on_step(prompt index, step index, details)``: called after each choice, for traces."""


@dataclass
class Task:
    """What ``generate`` was asked for, checked: all that a method with a loop of its own works from."""

    model: LanguageModel
    prompts: list[list[int]]
    guidance: Guidance | None
    """Present if the method needs an image."""
    is_settled: Callable[[list[int]], bool]
    seeds: list[int]
    """One for every prompt."""
    on_step: OnStep | None = None
    lazy: bool = True
    memory: StepMemory | None = None
    settle_ties: bool = True


@dataclass
class DecodingMethod:
    """Base of all methods: checks what every method has in common.

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
    def num_candidates(self) -> int:
        """Tokens of a row that one step looks ahead at."""
        return 1

    @property
    def needs_image(self) -> bool:
        """Whether the method looks at the image."""
        return False

    @property
    def needs_language_model(self) -> bool:
        """Whether a language model takes part."""
        return True

    @property
    def without_effect(self) -> tuple[str, ...]:
        """Settings of the method that cannot change a result."""
        return ()

    @property
    def is_sampled(self) -> bool:
        """Whether the seed matters."""
        return False

    def check(self, model: Vocabulary, prompts: Sequence[Sequence[int]]) -> None:
        """Refuse what a language model cannot do, before its weights are there.

        Args:
            model: The language model, or what is known of it.
            prompts: Token ids of prompts; some of those to come, or none, will do.

        Raises:
            SettingsError: k exceeds the vocabulary, a text the model's positions, or a prompt fills ``decoding_len``.
        """
        if model.positions is not None and self.decoding_len > model.positions:
            raise SettingsError(
                f"decoding.decoding_len must be at most the language model's {model.positions} positions, got {self.decoding_len}"
            )
        longest = max(map(len, prompts), default=0)
        if longest >= self.decoding_len:
            raise SettingsError(f"decoding.decoding_len counts the prompt and must exceed its {longest} tokens, got {self.decoding_len}")

    def begin(self, num_prompts: int) -> DecodingMethod:
        """The object whose ``step`` is called for one batch; itself unless the method keeps a memory."""
        return self

    def step(self, step: Step) -> Choice:
        """Choose the next token of every row."""
        raise NotImplementedError(f"{type(self).__name__}.step")

    def recall(self, evidence: Evidence, matcher: Matcher | None, *, lazy: bool) -> Choice | None:
        """What ``step`` would choose for rows whose evidence was remembered; None: more must be known for that.

        Only asked of methods whose choices come with evidence.
        """
        raise NotImplementedError(f"{type(self).__name__}.recall")


@dataclass
class OwnLoop(DecodingMethod):
    """Base of the methods that do not go step by step through the common loop."""

    def write(self, task: Task) -> list[list[int]]:
        """Generated token ids for every prompt; what is written for one may not depend on the others.

        Raises:
            MagicError: A model computes NaN (``refuse_nan``).
        """
        raise NotImplementedError(f"{type(self).__name__}.write")


def refuse_nan(model: str, is_faulty: bool) -> None:
    """Stop where a model computes NaN, as large ones may in float16.

    Args:
        model: The settings group that names it.
        is_faulty: Whether it did.

    Raises:
        MagicError: It did.
    """
    if is_faulty:
        raise MagicError(f"{model}: the model computes NaN; set run.dtype=float32, or check its files if that is already set")


MOST_TOKENS = 32_768
"""Of a text: the masks of one twice as long would take 16 GB."""
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


def candidate_sequences(step: Step, ids: Sequence[Sequence[int]], *, window: int, include_prompt: bool) -> list[list[int]]:
    """Token ids whose text the image-text model scores: (text so far + candidate), R * K lists.

    Only the last ``window`` tokens are kept, and a sequence ends before its first end-of-text, as CLIP would pool
    there. With ``include_prompt`` the prompt's words come first; its special tokens are no words.
    """
    model, sequences = step.model, []
    for prompt, generated, candidates in zip(step.prompts, step.generated, ids, strict=True):
        words = [i for i in prompt if i not in model.special_ids] if include_prompt else []
        text = (words + generated)[-(window - 1) :] if window > 1 else []
        whole = until_end(text, model.end_ids)
        if len(whole) < len(text):
            sequences += [whole] * len(candidates)
        else:
            sequences += [text if i in model.end_ids else [*text, i] for i in candidates]
    return sequences


def until_end(ids: Sequence[int], end_ids: frozenset[int]) -> list[int]:
    """The tokens before the first that ends a text.

    >>> until_end([5, 9, 7, 2], frozenset({2, 7}))
    [5, 9]
    """
    if end_ids.isdisjoint(ids):
        return list(ids)
    return list(takewhile(lambda i: i not in end_ids, ids))
