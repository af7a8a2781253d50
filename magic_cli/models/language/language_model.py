"""Any Hugging Face causal language model, by folder or hub name, as decoding wants it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from magic_cli.decoding.prompts import Prompt
from magic_cli.errors import MagicError
from magic_cli.models.language.context import logits_on_context, read_context
from magic_cli.models.language.lookahead import LookAhead, State
from magic_cli.models.language.network import Network
from magic_cli.models.language.probe import choose_look_ahead
from magic_cli.models.language.tokens import Tokens
from magic_cli.models.tokenizers import require_embeddable
from magic_cli.models.work_counter import WorkCounter


class HuggingFaceLanguageModel(Tokens):
    """A causal LM with its tokenizer (implements ``protocols.LanguageModel`` and ``ContextModel``).

    Args:
        model: Causal LM; put into eval mode.
        tokenizer: Its tokenizer.
        start_token: Token that opens a caption. None: ``<-start_of_text->`` if the tokenizer has it, else its own
            begin-of-text token, else none.
        clean_up_spaces: Whether decoded text loses the space before punctuation, as the released models' did.
        work: Where forward passes are counted.

    Attributes:
        way: How candidates are looked at, as ``prepare`` chose it; None before.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        start_token: str | None = None,
        clean_up_spaces: bool = True,
        work: WorkCounter | None = None,
    ) -> None:
        generation = getattr(model, "generation_config", None)
        super().__init__(tokenizer, model.config, generation, start_token=start_token, clean_up_spaces=clean_up_spaces)
        self.work = work or WorkCounter()
        self.network = Network(model.eval(), self.work)
        self.vocab_size = self.network.head.weight.shape[0]
        self.way: LookAhead | None = None

    def prepare(self, *, decoding_len: int, num_candidates: int, look_ahead: str = "auto") -> str:
        """Choose how candidates are looked at (see ``probe.choose_look_ahead``); returns the chosen way's name."""
        if num_candidates > self.vocab_size:
            raise MagicError(f"decoding.k must be at most the vocabulary size {self.vocab_size}, got {num_candidates}")
        self.network.work = WorkCounter()  # the probe is no part of the run
        self.way = choose_look_ahead(self.network, decoding_len=decoding_len, num_candidates=num_candidates, wanted=look_ahead)
        self.network.work = self.work
        return self.way.name

    def compile(self) -> None:
        """Run the forward pass through torch.compile from now on."""
        if not self.network.is_compiled:
            self.network.compile()

    def encode_prompt(self, prompt: str | None) -> list[int]:
        return self._embeddable(super().encode_prompt(prompt))

    def encode(self, text: str) -> list[int]:
        return self._embeddable(super().encode(text))

    def _embeddable(self, ids: list[int]) -> list[int]:
        """The same ids. Raises MagicError if the model has no embedding for one of them."""
        require_embeddable(self.tokenizer, ids, self.network.num_embeddings, "language_model")
        return ids

    def decode(self, sequences: Sequence[Sequence[int]]) -> list[str]:
        with self.work.phase("text"):
            return super().decode(sequences)

    @property
    def _look_ahead(self) -> LookAhead:
        if self.way is None:
            raise RuntimeError("call prepare() before decoding")
        return self.way

    def prefill(self, prompts: Sequence[Prompt | Sequence[int]]) -> State:
        return self._look_ahead.start([Prompt.of(prompt) for prompt in prompts])

    def peek(self, state: State, ids: Tensor, wanted: Tensor | None = None) -> Tensor:
        return self._look_ahead.look(state, ids, wanted)

    def commit(self, state: State, choice: Tensor) -> None:
        self._look_ahead.commit(state, choice)

    def select(self, state: State, rows: Tensor) -> State:
        return self._look_ahead.select(state, rows)

    def read_context(self, ids: Tensor) -> list[Tensor]:
        return read_context(self.network, ids)

    def logits_on_context(self, last: Tensor, context: list[Tensor]) -> Tensor:
        return logits_on_context(self.network, last, context)
