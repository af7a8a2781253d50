"""MAGIC search and contrastive search: look one token ahead at k candidates and take the best score."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from magic_cli.decoding.guides import Guide, ImageGuide
from magic_cli.decoding.method import DecodingMethod, require
from magic_cli.decoding.protocols import ImageTextScorer
from magic_cli.decoding.step import Candidates, Choice, Step

if TYPE_CHECKING:
    from torch import Tensor


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
        k: Candidates a step, at least 1.
        alpha: Weight of the degeneration penalty, in [0, 1]; 0 is greedy search.
    """

    k: int
    alpha: float

    def __post_init__(self) -> None:
        super().__post_init__()
        require("k", self.k, at_least=1)
        require("alpha", self.alpha, at_least=0, at_most=1)

    @property
    def num_candidates(self) -> int:
        return self.k

    def step(self, step: Step) -> Choice:
        """Score each candidate (equation 5, without an image equation 2), and take the best."""
        from magic_cli.decoding import scoring

        found = step.candidates(self.k)
        guidance = self._guidance(step, found)
        known = scoring.combine(found.confidence, None, guidance, alpha=self.alpha)
        penalty = step.look_ahead(found, known, alpha=self.alpha)
        return step.best(found, scoring.combine(found.confidence, penalty, guidance, alpha=self.alpha))

    def _guidance(self, step: Step, found: Candidates) -> Tensor | None:
        """(R, K) sum of what steers the text, weighted; None: nothing does."""
        return None


@dataclass
class MagicSearch(ContrastiveSearch):
    """MAGIC search (equation 5 of the paper).

    Attributes:
        beta: Weight of the magic score, at least 0; 0 is contrastive search.
        clip_text: Text that is scored against the image.
        clip_text_window: Only so many last tokens of that text are scored, at least 1 (released code: 60).
        similarity: Image-text match inside the softmax.
    """

    beta: float
    clip_text: ClipText = ClipText.generated
    clip_text_window: int = 60
    similarity: Similarity = Similarity.scaled_cosine

    def __post_init__(self) -> None:
        super().__post_init__()
        require("beta", self.beta, at_least=0)
        require("clip_text_window", self.clip_text_window, at_least=1)

    @property
    def needs_image(self) -> bool:
        return self.beta > 0

    def image_guide(self, scorer: ImageTextScorer, vectors: Tensor) -> Guide:
        return ImageGuide(scorer, vectors, self.beta, self.similarity.value)

    def _guidance(self, step: Step, found: Candidates) -> Tensor | None:
        return step.guidance(found, window=self.clip_text_window, include_prompt=self.clip_text is ClipText.prefix_and_generated)
