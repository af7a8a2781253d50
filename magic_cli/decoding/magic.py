"""MAGIC search and contrastive search: look one token ahead at k candidates and take the best score. And MAGIC's beam search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from magic_cli.decoding.beam import BeamSearch
from magic_cli.decoding.guides import Guide, ImageGuide
from magic_cli.decoding.method import MOST_TOKENS, MOST_VOCABULARY, DecodingMethod, check_vocabulary, require, require_weight
from magic_cli.decoding.protocols import ImageTextScorer, Vocabulary
from magic_cli.decoding.step import Candidates, Choice, Step
from magic_cli.errors import SettingsError

if TYPE_CHECKING:
    from torch import Tensor


_MOST_CANDIDATES = 10_000
"""Limit of candidates per step: twice as many would need masks of 13 GB in a batch of 8."""


class ClipText(Enum):
    """Which text the image-text model scores."""

    generated = "generated"
    """The tokens after the prompt (released code)."""
    prefix_and_generated = "prefix_and_generated"
    """Prompt and generated tokens (the paper's formula)."""


class Similarity(Enum):
    """The image-text match inside the softmax of the magic score."""

    scaled_cosine = "scaled_cosine"
    """exp(logit_scale) times the cosine (released code)."""
    dot_product = "dot_product"
    """Dot product of the projected features (the paper's formula)."""


@dataclass
class ContrastiveSearch(DecodingMethod):
    """Contrastive search (Su et al. 2022, "A Contrastive Framework for Neural Text Generation"): no image.

    Attributes:
        k: Candidates per step, 1 to 10,000 and at most the vocabulary.
        alpha: Weight of the degeneration penalty, 0 (greedy search) or 1e-6 to 1.
    """

    k: int
    alpha: float

    def __post_init__(self) -> None:
        super().__post_init__()
        require("k", self.k, at_least=1, limit=MOST_VOCABULARY)
        require("alpha", self.alpha, at_least=0, at_most=1)
        require_weight("alpha", self.alpha, limit=1)

    @property
    def num_candidates(self) -> int:
        return self.k

    def check(self, model: Vocabulary, prompts: Sequence[Sequence[int]]) -> None:
        check_vocabulary(self.k, model)
        require("k", self.k, limit=_MOST_CANDIDATES)
        super().check(model, prompts)

    def step(self, step: Step) -> Choice:
        """Score each candidate (equation 5, without an image equation 2), and take the best.

        What is asked first, the penalty or the guides, can make the other needless for some candidates. Where p and the guides together
        cannot outweigh any penalty, they could never spare the language model a candidate. So the penalty comes first there.
        """
        from magic_cli.decoding import scoring

        found, alpha = step.candidates(self.k), self.alpha
        combine = partial(scoring.combine, found.confidence, alpha=alpha)
        if alpha == 0 or 1 - alpha + step.most_guidance <= 2 * alpha:
            penalty = step.look_ahead(found, combine(None, None), alpha=alpha, others=step.most_guidance)
            guidance = self._guidance(step, found, combine(penalty, None))
        else:
            guidance = self._guidance(step, found, None)
            penalty = step.look_ahead(found, combine(None, guidance), alpha=alpha)
        return step.best(found, combine(penalty, guidance))

    def _guidance(self, step: Step, found: Candidates, known: Tensor | None) -> Tensor | None:
        """(R, K) weighted sum of the guides' scores, as far as it matters; None: there are no guides, or none was asked.

        ``known``: (R, K) the scores without them; None: the penalty is not known yet.
        """
        return None


@dataclass(kw_only=True)
class Guided(DecodingMethod):
    """What methods share that compare growing texts with an image.

    Attributes:
        beta: Weight of the image, 0 (none) or 1e-6 to 1000.
        clip_text: Text that is scored against the image.
        clip_text_window: How many of the last tokens of that text are scored, 1 to 32,768 (released code: 60).
        similarity: Image-text match.
        guides: The guides: ``image``, and others with settings in the group ``guides``.
    """

    beta: float
    clip_text: ClipText = ClipText.generated
    clip_text_window: int = 60
    similarity: Similarity = Similarity.scaled_cosine
    guides: list[str] = field(default_factory=lambda: ["image"])

    def __post_init__(self) -> None:
        super().__post_init__()
        require_weight("beta", self.beta, limit=1000)
        require("clip_text_window", self.clip_text_window, at_least=1, limit=MOST_TOKENS)
        if "image" not in self.guides or len(set(self.guides)) < len(self.guides):
            raise SettingsError(f"decoding.guides must name image, and each guide once, got [{', '.join(self.guides)}]")

    @property
    def needs_image(self) -> bool:
        return self.beta > 0 or len(self.guides) > 1

    def image_guide(self, scorer: ImageTextScorer, vectors: Tensor) -> Guide:
        return ImageGuide(scorer, vectors, self.beta, self.similarity.value)

    @property
    def _reading(self) -> dict[str, Any]:
        """The part of a text that is read, as arguments of ``Step``."""
        return {"window": self.clip_text_window, "include_prompt": self.clip_text is ClipText.prefix_and_generated}


@dataclass
class MagicSearch(Guided, ContrastiveSearch):
    """MAGIC search (equation 5 of the paper); with ``beta`` 0 it is contrastive search."""

    def _guidance(self, step: Step, found: Candidates, known: Tensor | None) -> Tensor | None:
        return step.guidance(found, known, **self._reading)


@dataclass
class MagicBeam(Guided, BeamSearch):
    """Beam search for the text y that is best for the language model and the guides together.

        worth(y) = log p(y) / length ** length_penalty + sum of beta_i match_i(y)

    MAGIC asks at each step which candidate fits better than the others, and never goes back. Here whole texts so far are
    compared, and ``num_beams`` of them are kept. The result is the finished text of the greatest worth. A text that ends is
    preferred to one that ``decoding_len`` cuts off.

    Attributes:
        k: Continuations that the guides read at each step, the likeliest over all beams; 1 to 10,000, and enough for all beams
            to go on even if as many texts end.
    """

    k: int = 64

    prefers_ends: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require("k", self.k, at_least=1, limit=_MOST_CANDIDATES)

    def check(self, model: Vocabulary, prompts: Sequence[Sequence[int]]) -> None:
        super().check(model, prompts)
        least = super().continuations(model)
        if self.k < least:
            raise SettingsError(
                f"decoding.k must be at least {least} with decoding.num_beams={self.num_beams}, got {self.k}; set decoding.k={least}, or fewer beams"
            )

    def continuations(self, model: Vocabulary) -> int:
        return self.k

    def match(self, step: Step, parents: Sequence[Sequence[int]], tokens: Sequence[Sequence[int]]) -> list[list[float]] | None:
        return step.match(parents, tokens, **self._reading)
