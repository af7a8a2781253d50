"""Greedy search and the sampled baselines: top-k, nucleus, typical."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from magic_cli.decoding.method import MOST_VOCABULARY, DecodingMethod, check_vocabulary, require
from magic_cli.decoding.protocols import Vocabulary
from magic_cli.decoding.step import Candidates, Choice, Step

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class GreedySearch(DecodingMethod):
    """The most likely token at every step."""

    def step(self, step: Step) -> Choice:
        found = step.candidates(1)
        return Choice(found.ids[:, 0], found)


@dataclass
class Sampling(DecodingMethod):
    """Base of the sampled methods: restrict the distribution, then draw.

    Attributes:
        temperature: Divides the logits first, 1e-6 (greedy, nearly) to 1,000,000 (any token, nearly).
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require("temperature", self.temperature, above=0, floor=1e-6, limit=1_000_000)

    @property
    def is_sampled(self) -> bool:
        return True

    def restrict(self, logits: Tensor) -> Tensor:
        """Logits (R, V) with -inf on the tokens that may not be drawn."""
        raise NotImplementedError(f"{type(self).__name__}.restrict")

    def step(self, step: Step) -> Choice:
        from magic_cli.decoding import scoring

        logits = step.logits
        # the largest is moved to 0 first, so that a tiny temperature cannot overflow
        kept = self.restrict((logits - logits.amax(dim=-1, keepdim=True)) / self.temperature)
        tokens = scoring.draw(kept, step.uniform())
        p = kept.softmax(dim=-1).gather(1, tokens[:, None])
        return Choice(tokens, Candidates(tokens[:, None], p))


@dataclass
class TopKSampling(Sampling):
    """Draw among the k most likely tokens (Fan et al. 2018), at most all of the vocabulary."""

    k: int = 40

    def __post_init__(self) -> None:
        super().__post_init__()
        require("k", self.k, at_least=1, limit=MOST_VOCABULARY)

    def check(self, model: Vocabulary, prompts: Sequence[Sequence[int]]) -> None:
        check_vocabulary(self.k, model)
        super().check(model, prompts)

    def restrict(self, logits: Tensor) -> Tensor:
        from magic_cli.decoding import scoring

        return scoring.keep_top_k(logits, self.k)


@dataclass
class NucleusSampling(Sampling):
    """Draw among the most likely tokens that together reach the mass ``p`` (Holtzman et al. 2020)."""

    p: float = 0.95

    def __post_init__(self) -> None:
        super().__post_init__()
        require("p", self.p, above=0, at_most=1)

    def restrict(self, logits: Tensor) -> Tensor:
        from magic_cli.decoding import scoring

        return scoring.keep_nucleus(logits, self.p)


@dataclass
class TypicalSampling(Sampling):
    """Draw among the locally typical tokens that together reach ``mass`` (Meister et al. 2022)."""

    mass: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        require("mass", self.mass, above=0, at_most=1)

    def restrict(self, logits: Tensor) -> Tensor:
        from magic_cli.decoding import scoring

        return scoring.keep_typical(logits, self.mass)
