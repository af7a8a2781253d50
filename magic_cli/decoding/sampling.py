"""Greedy search and the sampled baselines: top-k, nucleus, typical."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from magic_cli.decoding.method import DecodingMethod, require
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
        temperature: Divides the logits first, greater than 0.
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require("temperature", self.temperature, above=0)

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
    """Draw among the k most likely tokens (Fan et al. 2018)."""

    k: int = 40

    def __post_init__(self) -> None:
        super().__post_init__()
        require("k", self.k, at_least=1)

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
