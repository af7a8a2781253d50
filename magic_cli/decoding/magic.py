"""MAGIC search and contrastive search: look one token ahead at k candidates and take the best score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from typing import TYPE_CHECKING

from magic_cli.decoding.method import (
    MOST_TOKENS,
    MOST_VOCABULARY,
    Choice,
    DecodingMethod,
    Matcher,
    Step,
    candidate_sequences,
    check_vocabulary,
    require,
    require_weight,
)
from magic_cli.decoding.step_memory import Evidence
from magic_cli.protocols import Vocabulary

if TYPE_CHECKING:
    from torch import Tensor


_MOST_CANDIDATES = 10_000
"""Of a step: the masks that keep twice as many apart would take 13 GB in a batch of 8."""


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
        k: Candidates a step, 1 to 10,000 and at most the vocabulary.
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
        """Look one token ahead: a term of weight zero is not computed at all, a penalty only where it can matter."""
        from magic_cli.decoding import scoring

        ids, confidence, close = scoring.top_candidates(step.state.logits, self.k)  # (R, K)
        features = self._text_features(step, ids)
        f = self._magic_score(features, step.matcher)
        candidates, penalty, faulty = self._candidates(confidence, f, lazy=step.lazy), None, None
        if self.alpha > 0:
            wanted = candidates if step.lazy else None
            if step.lazy and step.ends is not None:
                wanted = _wanted(step, ids, candidates)
            hidden = step.peek(ids, wanted)
            penalty = scoring.degeneration_penalty(hidden, step.state.hidden, step.state.valid)
            faulty = (penalty.isnan() if wanted is None else penalty.isnan() & wanted).any()
        choice = self._choose(Evidence(ids, confidence, features, penalty), f, candidates)
        choice.close, choice.faulty = choice.close | close, faulty
        return choice

    def recall(self, evidence: Evidence, matcher: Matcher | None, *, lazy: bool) -> Choice | None:
        f = self._magic_score(evidence.features, matcher)
        candidates = self._candidates(evidence.confidence, f, lazy=lazy)
        if evidence.penalty is not None and (evidence.penalty.isnan() & candidates & ~_are_alone(candidates)).any():
            return None
        return self._choose(evidence, f, candidates)

    @property
    def _magic_weight(self) -> float:
        return 0.0

    def _text_features(self, step: Step, ids: Tensor) -> Tensor | None:
        """(R, K, E) of the texts that the candidates ``ids`` (R, K) would make; None: no image takes part."""
        return None

    def _magic_score(self, features: Tensor | None, matcher: Matcher | None) -> Tensor | None:
        """(R, K) of texts with these features; None: no image takes part."""
        return None

    def _candidates(self, confidence: Tensor, f: Tensor | None, *, lazy: bool) -> Tensor:
        """(R, K) bool: those of the K that can win; all of them unless ``lazy``."""
        import torch

        from magic_cli.decoding import scoring

        if not lazy:
            return torch.ones_like(confidence, dtype=torch.bool)
        return scoring.can_win(confidence, f, alpha=self.alpha, beta=self._magic_weight)

    def _choose(self, evidence: Evidence, f: Tensor | None, candidates: Tensor) -> Choice:
        """The best of the candidates. In the details, penalties and scores of the others are NaN, as that of a sure winner may be."""
        from magic_cli.decoding import scoring

        penalty = None if evidence.penalty is None else evidence.penalty.masked_fill(~candidates, math.nan)
        score = scoring.combine(evidence.confidence, penalty, f, alpha=self.alpha, beta=self._magic_weight)
        known = score.masked_fill(_are_alone(candidates) & score.isnan(), 0.0).nan_to_num(nan=-math.inf)
        best = scoring.best_candidate(known)
        return Choice(
            tokens=evidence.ids.gather(1, best[:, None]).squeeze(1),
            candidate=None if penalty is None else best,
            close=scoring.is_close(known, beta=self._magic_weight),
            evidence=evidence,
            details={"token_ids": evidence.ids, "p": evidence.confidence, "penalty": penalty, "f": f, "score": score},
        )


def _are_alone(candidates: Tensor) -> Tensor:
    """(R, K) bool: candidates that win without a look at them, being their row's only ones."""
    return candidates & (candidates.sum(dim=1, keepdim=True) == 1)


def _wanted(step: Step, ids: Tensor, candidates: Tensor) -> Tensor:
    """(R, K) bool: candidates whose hidden states are to be known, for their penalty or because the text goes on from them."""
    rows, columns = _are_alone(candidates).nonzero(as_tuple=True)
    if not len(rows):
        return candidates
    wanted = candidates.clone()
    tokens = ids[rows, columns].tolist()
    wanted[rows, columns] = wanted.new_tensor([not step.ends(row, token) for row, token in zip(rows.tolist(), tokens, strict=True)])
    return wanted


@dataclass
class MagicSearch(ContrastiveSearch):
    """MAGIC search (equation 5 of the paper).

    Attributes:
        beta: Weight of the magic score, 0 or 1e-6 to 1000; 0 is contrastive search.
        clip_text: Text that is scored against the image.
        clip_text_window: Only so many last tokens of that text are scored, 1 to 32,768 (released code: 60).
        similarity: Image-text match inside the softmax.
    """

    beta: float
    clip_text: ClipText = ClipText.generated
    clip_text_window: int = 60
    similarity: Similarity = Similarity.scaled_cosine

    def __post_init__(self) -> None:
        super().__post_init__()
        require_weight("beta", self.beta, limit=1000)
        require("clip_text_window", self.clip_text_window, at_least=1, limit=MOST_TOKENS)

    @property
    def needs_image(self) -> bool:
        return self.beta > 0

    @property
    def _magic_weight(self) -> float:
        return self.beta

    def _text_features(self, step: Step, ids: Tensor) -> Tensor | None:
        if self.beta == 0:
            return None
        sequences = candidate_sequences(
            step, ids.tolist(), window=self.clip_text_window, include_prompt=self.clip_text is ClipText.prefix_and_generated
        )
        texts = iter(step.model.decode(sequences))
        return step.matcher.encode([list(islice(texts, ids.shape[1])) for _ in step.prompts])

    def _magic_score(self, features: Tensor | None, matcher: Matcher | None) -> Tensor | None:
        from magic_cli.decoding import scoring

        return None if features is None else scoring.magic_score(matcher.match(features, self.similarity.value))
