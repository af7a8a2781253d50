"""Settings of ZeroCap; the defaults are those of the MAGIC paper's comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from magic_cli.decoding.method import MOST_BEAMS, MOST_TOKENS, MOST_VOCABULARY, DecodingMethod, require, require_weight
from magic_cli.decoding.protocols import Vocabulary
from magic_cli.decoding.zerocap.prompt import end_token, lead_tokens
from magic_cli.errors import SettingsError

_FRACTIONS = ("fusion_factor", "grad_norm_factor")
_WEIGHTS = ("clip_scale", "ce_scale", "step_size")
_FACTORS = ("repetition_penalty", "first_end_factor", "end_factor", "forbidden_factor")


@dataclass
class ZeroCapSettings(DecodingMethod):
    """The numbers of ZeroCap.

    Attributes:
        decoding_len: Tokens in all of the caption, its start token included: 17 are 16 new ones.
        prompt: What the language model reads before the caption; no part of it. Opens with a token that ends or begins the
            model's texts; ``<|endoftext|>`` is its own begin-of-text token where it has none of that name. Words of the run's own
            prompt follow it.
        num_beams: Texts that are kept, 1 to 1000; of several the image-text model chooses at the end.
        num_iterations: Gradient steps a token, 0 to 1000; 0 is the plain language model under the same filters.
        num_texts: Likeliest tokens whose texts are scored in the image loss, at most all of the vocabulary.
        clip_loss_temperature: Divides the cosines in the softmax over these texts, 0.0001 to 1000.
        clip_scale: Weight of the image loss; this weight and the two below are 0 or 1e-6 to 1000.
        ce_scale: Weight of the divergence from the unshifted language model.
        step_size: Length factor of a gradient step.
        grad_norm_factor: A gradient is divided by its norm to this power, in [0, 1].
        fusion_factor: Share of the shifted distribution in the geometric mean with the unshifted one, in [0, 1].
        repetition_penalty: Makes the last ``repetition_window`` tokens less likely if greater than 1. It and all factors below are
            0.001 to 1,000,000.
        repetition_window: To how many last tokens that applies, 0 to 32,768.
        end_token: Token that ends a caption; it stays part of it.
        first_end_factor: Makes the end token less likely as first token if greater than 1.
        end_factor: Makes the end token likelier from the second token on if greater than 1.
        forbidden_factor: Makes forbidden tokens less likely: those not of letters and digits alone (a leading space aside),
            and those with a capital letter; the end token is not forbidden.
        text_cache: Encode only what is new in a text, and no text of a step twice (same features); false: all anew, as
            published.
    """

    decoding_len: int = 17
    prompt: str = "<|endoftext|>Image of a"
    num_beams: int = 1
    num_iterations: int = 5
    num_texts: int = 512
    clip_loss_temperature: float = 0.01
    clip_scale: float = 1.0
    ce_scale: float = 0.2
    step_size: float = 0.3
    grad_norm_factor: float = 0.9
    fusion_factor: float = 0.99
    repetition_penalty: float = 1.0
    repetition_window: int = 4
    end_token: str = "."
    first_end_factor: float = 1.6
    end_factor: float = 1.01
    forbidden_factor: float = 20.0
    text_cache: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require("num_beams", self.num_beams, at_least=1, limit=MOST_BEAMS)
        require("num_texts", self.num_texts, at_least=1, limit=MOST_VOCABULARY)
        require("num_iterations", self.num_iterations, at_least=0, limit=1000)
        require("repetition_window", self.repetition_window, at_least=0, limit=MOST_TOKENS)
        require("clip_loss_temperature", self.clip_loss_temperature, above=0, floor=0.0001, limit=1000)
        for name in _WEIGHTS:
            require_weight(name, getattr(self, name), limit=1000)
        for name in _FACTORS:
            require(name, getattr(self, name), above=0, floor=0.001, limit=1_000_000)
        for name in _FRACTIONS:
            require(name, getattr(self, name), at_least=0, at_most=1)

    @property
    def shifts(self) -> bool:
        """Whether the image moves the context."""
        return self.clip_scale > 0 and self.num_iterations > 0 and self.step_size > 0

    @property
    def needs_image(self) -> bool:
        return self.shifts or self.num_beams > 1

    def check(self, model: Vocabulary, prompts: Sequence[Sequence[int]]) -> None:
        super().check(model, prompts)
        for name in ("num_beams", "num_texts"):
            require(name, getattr(self, name), at_least=1, at_most=model.vocab_size)
        end_token(model, self.end_token)
        for prompt in prompts:
            # of the last token only what goes before it is read
            longest = len(lead_tokens(model, self.prompt, prompt)) + self.decoding_len - len(prompt) - 1
            if model.positions is not None and longest > model.positions:
                raise SettingsError(
                    f"decoding.decoding_len={self.decoding_len}: with decoding.prompt, the text outgrows the language model's "
                    f"{model.positions} positions; lower it"
                )
