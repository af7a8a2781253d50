"""Any Hugging Face causal language model, by folder or hub name, as decoding wants it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from magic_cli.decoding.prompts import Prompt
from magic_cli.errors import MagicError
from magic_cli.models.context import logits_on_context, read_context
from magic_cli.models.lookahead import LookAhead, State
from magic_cli.models.network import Network
from magic_cli.models.probe import choose_look_ahead
from magic_cli.work import Work

DEFAULT_START_TOKEN = "<-start_of_text->"

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


class HuggingFaceLanguageModel:
    """A causal LM with its tokenizer (implements ``protocols.LanguageModel`` and ``ContextModel``).

    Args:
        model: Causal LM; put into eval mode.
        tokenizer: Its tokenizer.
        start_token: Token that opens a caption. None: ``<-start_of_text->`` if the tokenizer has it, else its own
            begin-of-text token, else none.
        clean_up_spaces: Whether decoded text loses the space before punctuation, as the released models' did.
        work: Where forward passes are counted.
    """

    def __init__(
        self, model: Any, tokenizer: Any, *, start_token: str | None = None, clean_up_spaces: bool = True, work: Work | None = None
    ) -> None:
        self.tokenizer = tokenizer
        self.work = work or Work()
        self.network = Network(model.eval(), self.work)
        self.vocab_size = self.network.head.weight.shape[0]
        self.end_id = tokenizer.eos_token_id
        if self.end_id is None:
            raise MagicError("language_model: the tokenizer has no end-of-text token; set eos_token in its tokenizer_config.json")
        self.start_id = self._find_start(start_token)
        self._clean_up = clean_up_spaces
        self._way: LookAhead | None = None

    def _find_start(self, start_token: str | None) -> int | None:
        vocabulary = self.tokenizer.get_vocab()
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

    def prepare(self, *, decoding_len: int, num_candidates: int, look_ahead: str = "auto") -> str:
        """Choose how candidates are looked at (see ``probe.choose_look_ahead``); returns the chosen way's name."""
        if num_candidates > self.vocab_size:
            raise MagicError(f"decoding.k must be at most the vocabulary size {self.vocab_size}, got {num_candidates}")
        self.network.work = Work()  # the probe is no part of the run
        self._way = choose_look_ahead(
            self.network, decoding_len=decoding_len, num_candidates=num_candidates, wanted=look_ahead
        )
        self.network.work = self.work
        return self._way.name

    def compile(self) -> None:
        """Run the forward pass through torch.compile from now on."""
        self.network.compile()

    def encode_prompt(self, prompt: str | None) -> list[int]:
        """Token ids that open a caption: the start token if the model has one, then the prompt's words.

        Raises:
            MagicError: There is neither a start token nor a prompt.
        """
        words = self.tokenizer(prompt, add_special_tokens=False)["input_ids"] if prompt else []
        ids = ([] if self.start_id is None else [self.start_id]) + words
        if not ids:
            raise MagicError("this language model has no start token: set prompt='...' or language_model.start_token=TOKEN")
        return ids

    def encode(self, text: str) -> list[int]:
        """Token ids of ``text``; special tokens written in it are recognised, none is added."""
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def decode(self, sequences: Sequence[Sequence[int]]) -> list[str]:
        """Text of each sequence, special tokens included, spaces cleaned up."""
        with self.work.phase("text"):
            texts = self.tokenizer.batch_decode(
                [list(ids) for ids in sequences], skip_special_tokens=False, clean_up_tokenization_spaces=False
            )
            return [clean_up_spaces(text) for text in texts] if self._clean_up else texts

    @property
    def _look_ahead(self) -> LookAhead:
        if self._way is None:
            raise RuntimeError("call prepare() before decoding")
        return self._way

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
