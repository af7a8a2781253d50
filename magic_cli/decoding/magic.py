"""MAGIC search and contrastive search: look one token ahead at k candidates and take the best score."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from itertools import islice
from typing import TYPE_CHECKING

from magic_cli.decoding.method import Choice, DecodingMethod, Step, candidate_sequences, require

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
        return look_ahead(step, k=self.k, alpha=self.alpha)


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

    def step(self, step: Step) -> Choice:
        return look_ahead(step, k=self.k, alpha=self.alpha, beta=self.beta, magic=self._magic_score)

    def _magic_score(self, step: Step, ids: Tensor) -> Tensor:
        from magic_cli.decoding import scoring

        sequences = candidate_sequences(
            step, ids.tolist(), window=self.clip_text_window, include_prompt=self.clip_text is ClipText.prefix_and_generated
        )
        texts = iter(step.model.decode(sequences))
        rows = [list(islice(texts, ids.shape[1])) for _ in step.prompts]
        return scoring.magic_score(step.match(rows, self.similarity.value))


def look_ahead(step: Step, *, k: int, alpha: float, beta: float = 0.0, magic=None) -> Choice:
    """One step of either search; a term of weight zero is not computed at all, a penalty only where it can matter.

    In the details, the penalty and score of a candidate that was not looked at are NaN.
    """
    import torch

    from magic_cli.decoding import scoring

    ids, confidence = scoring.top_candidates(step.state.logits, k)  # (R, K)
    f = magic(step, ids) if beta > 0 else None
    penalty, faulty = None, None
    if alpha > 0:
        wanted = scoring.can_win(confidence, f, alpha=alpha, beta=beta) if step.lazy else None
        penalty = scoring.degeneration_penalty(step.peek(ids, wanted), step.state.hidden, step.state.valid)
        faulty = (penalty.isnan() if wanted is None else penalty.isnan() & wanted).any()
    score = scoring.combine(confidence, penalty, f, alpha=alpha, beta=beta)
    best = scoring.best_candidate(score.nan_to_num(nan=-torch.inf))
    return Choice(
        tokens=ids.gather(1, best[:, None]).squeeze(1),
        candidate=None if penalty is None else best,
        faulty=faulty,
        details={"token_ids": ids, "p": confidence, "penalty": penalty, "f": f, "score": score},
    )
