"""The contracts through which decoding reaches models. Nothing here imports torch at run time.

Shape letters, used throughout the project:
    B rows decoded side by side, K candidate tokens of a row, T tokens so far (left-padded), V vocabulary,
    H hidden size of the language model, E size of the shared image-text embedding.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

    from magic_cli.decoding.prompts import Prompt


class LanguageModelState(Protocol):
    """A language model's memory of B sequences."""

    logits: Tensor
    """(B, V) float32: scores of the next token of every row."""
    hidden: Tensor
    """(B, T, H): last-layer hidden states of all tokens so far."""
    valid: Tensor
    """(B, T) bool: False where a row is left-padded."""


State = TypeVar("State", bound=LanguageModelState)
"""The kind of state that a model makes; it reads only its own."""


class Vocabulary(Protocol):
    """What is known about a language model without its weights."""

    vocab_size: int
    positions: int | None
    """The most tokens that it can read; None: no limit is known."""
    start_id: int | None
    """Token at the beginning of a caption, not part of the text; None: the model has none."""
    end_ids: frozenset[int]
    """Tokens that end a text, at least one."""
    special_ids: frozenset[int]
    """Tokens that never appear in a text: start, ends and all others that only control the model."""

    @property
    def begin_id(self) -> int:
        """Token that separated texts in training."""

    def encode(self, text: str) -> list[int]:
        """Token ids of ``text``; special tokens written in it are recognised, none is added."""

    def decode(self, sequences: Sequence[Sequence[int]]) -> list[str]:
        """Text of token ids, special tokens left out, with the classic clean-up of spaces."""

    def token_texts(self, ids: Iterable[int]) -> list[str]:
        """The text of each token on its own, including special tokens."""


class LanguageModel(Vocabulary, Protocol[State]):
    """A causal language model that can look one token ahead without committing to it."""

    def prefill(self, prompts: Sequence[Prompt]) -> State:
        """Read B prompts (each at least one token long, lengths may differ).

        Raises:
            MagicError: A prompt has vectors, and the model takes none.
        """

    def peek(self, state: State, ids: Tensor, wanted: Tensor | None = None) -> Tensor:
        """Hidden states (B, K, H) that the tokens ``ids`` (B, K) would have as next token; commits to none.

        With ``wanted`` (B, K) bool only those are computed; the others are NaN.
        """

    def commit(self, state: State, choice: Tensor) -> None:
        """Append, in place, the candidate ``choice`` (B,) of the last peek; ``state.logits`` become its logits.

        If a row's choice was not in ``wanted``, its state is invalid, and the row must be dropped next (``select``).
        """

    def select(self, state: State, rows: Tensor) -> State:
        """The state of ``rows`` (R,), in that order, repetitions allowed."""


class ContextModel(LanguageModel, Protocol):
    """A language model whose context can be shifted, which ZeroCap needs; not every model offers it.

    A context is a list of the keys and values of all layers, in the order key, value, key, value ..., each with the rows
    first, (B, ...).
    """

    def read_context(self, ids: Tensor) -> list[Tensor]:
        """Keys and values after reading ``ids`` (B, T), T at least 1.

        Raises:
            MagicError: The model's cache has another form, or cannot hold one more token.
        """

    def logits_on_context(self, last: Tensor, context: list[Tensor]) -> Tensor:
        """(B, V) scores of what follows ``last`` (B,) on a context; differentiable with respect to the context."""


class TextSession(Protocol):
    """Encodes the growing texts of B rows; may keep what it computed for earlier steps."""

    def encode(self, texts: list[list[str]]) -> Tensor:
        """Projected features (B, K, E), not normalised, of K texts for each of B rows."""

    def select(self, rows: Tensor) -> None:
        """Keep only ``rows`` (R,), in that order, repetitions allowed."""


class ImageTextScorer(Protocol):
    """An image-text model such as CLIP, as far as decoding needs it."""

    @property
    def logit_scale(self) -> float:
        """Factor on the cosine before a softmax (``exp(logit_scale)`` of CLIP, 100 for OpenAI's)."""

    def open_texts(self, num_rows: int, *, reuse: bool = True) -> TextSession:
        """Start encoding texts that grow token by token, for ``num_rows`` rows; without ``reuse`` every text is encoded whole."""
