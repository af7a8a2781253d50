"""The arithmetic of one decoding step: scores in, scores out, nothing mutated.

MAGIC is Su et al. 2022, "Language Models Can See" (arXiv 2205.02655); equation numbers refer to it.
"""

import torch
from torch import Tensor

NEAR_SCORES = 2e-5
"""Rounding in float32 may swap scores that are closer than this. Between batches, magic scores at a logit scale of 100 differed
by up to 3.5e-6 (GPT-2 small's and ViT-B/32's shapes), and scores with beta 2 by up to 7e-6; the margin grows with larger beta."""
NEAR_LOGITS = 1e-4
"""The same for logits of up to 100; the margin grows with larger ones."""


def top_candidates(logits: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """The k most likely tokens and the model confidence in each.

    Args:
        logits: (B, V) next-token scores.
        k: Candidates per row, 1 to V.

    Returns:
        Token ids (B, K), best first; their probabilities (B, K) in [0, 1]: softmax over the whole vocabulary, not
        renormalised over the candidates; (B,) bool: whether rounding could swap the last candidate with the next token.
    """
    top, ids = logits.topk(min(k + 1, logits.shape[-1]), dim=-1)  # (B, V) -> (B, K + 1), of all V tokens only K
    last, next_ = top[:, k - 1, None], top[:, k:]
    close = (last - next_ < NEAR_LOGITS * (last.abs() / 100).clamp(min=1)).any(dim=-1)
    return ids[:, :k], _probabilities(logits).gather(1, ids[:, :k]), close


def _probabilities(logits: Tensor) -> Tensor:
    """(B, V), over the whole vocabulary.

    ``logsumexp`` takes up to ten times as long on the CPU, where many tokens are so unlikely that ``exp`` nears zero.
    """
    return logits.softmax(dim=-1)


def joining_candidates(logits: Tensor, ids: Tensor, wanted: Tensor, *, most: int, floor: float) -> tuple[Tensor, Tensor, Tensor]:
    """The likeliest wanted tokens that are no candidates yet.

    Args:
        logits: (B, V) next-token scores.
        ids: (B, K) the candidates.
        wanted: (B, V) bool: tokens that may join.
        most: So many at most, at least 1.
        floor: Least probability of one, in (0, 1].

    Returns:
        Token ids (B, J), best first, J at most ``most``; their probabilities (B, J), 0 where a row has fewer, and the id is that of its
        first candidate; (B,) bool: whether rounding may choose which join.
    """
    p = _probabilities(logits)
    most = min(most, p.shape[-1])
    p = p.masked_fill(~wanted, 0.0).scatter(1, ids, 0.0)
    top, tokens = p.topk(min(most + 1, p.shape[-1]), dim=-1)
    near = NEAR_LOGITS * (logits.amax(dim=-1, keepdim=True).abs() / 100).clamp(min=1)  # of a logarithm
    close = ((top / floor).log().abs() < near).any(dim=-1)
    last, next_ = top[:, most - 1, None], top[:, most:]
    close = close | ((next_ >= floor) & (last.log() - next_.log() < near)).any(dim=-1)
    top, tokens = top[:, :most], tokens[:, :most]
    joins = top >= floor
    width = int(joins.sum(dim=-1).max())
    return tokens.where(joins, ids[:, :1])[:, :width], top.where(joins, 0.0)[:, :width], close


def degeneration_penalty(candidates: Tensor, history: Tensor, valid: Tensor) -> Tensor:
    """How much a candidate repeats what is already there: its largest cosine with any earlier token (eq. 2).

    Args:
        candidates: (B, K, H) hidden states of the candidates.
        history: (B, T, H) hidden states of all tokens so far, prompt included.
        valid: (B, T) bool, False on padding.

    Returns:
        (B, K) in [-1, 1]; lower is better.
    """
    unit = torch.nn.functional.normalize
    cosine = unit(candidates.float(), dim=-1) @ unit(history.float(), dim=-1).transpose(1, 2)  # -> (B, K, T)
    return cosine.masked_fill(~valid[:, None], -1.0).amax(dim=-1)  # (B, K, T) -> (B, K)


def scaled_cosine(images: Tensor, texts: Tensor, logit_scale: float) -> Tensor:
    """Image-text match of the released code: ``logit_scale`` times the cosine, (B, E) x (B, K, E) -> (B, K)."""
    unit = torch.nn.functional.normalize
    return logit_scale * (unit(texts.float(), dim=-1) @ unit(images.float(), dim=-1)[:, :, None]).squeeze(-1)


def dot_product(images: Tensor, texts: Tensor) -> Tensor:
    """Image-text match as the paper prints it (eq. 4): ``h_image . h_text``, (B, E) x (B, K, E) -> (B, K)."""
    return (texts.float() @ images.float()[:, :, None]).squeeze(-1)


def magic_score(match: Tensor, forbidden: Tensor | None = None) -> Tensor:
    """Softmax of the image-text match over a row's candidates (eq. 4), (B, K) -> (B, K), sums to 1.

    Candidates that are ``forbidden`` (B, K) do not count and get 0. A row with a match that is not finite is NaN.
    """
    match = match.masked_fill(~match.isfinite(), torch.nan)
    return (match if forbidden is None else match.masked_fill(forbidden, -torch.inf)).softmax(dim=-1)


def combine(confidence: Tensor, penalty: Tensor | None, guidance: Tensor | None, *, alpha: float) -> Tensor:
    """``(1 - alpha) p - alpha penalty + guidance`` (eq. 5: guidance is beta f), all (B, K); a term that is None counts as zero."""
    score = (1 - alpha) * confidence
    if penalty is not None:
        score = score - alpha * penalty
    if guidance is not None:
        score = score + guidance
    return score


def best_candidate(score: Tensor) -> Tensor:
    """Index of the best candidate, (B, K) -> (B,); of equal scores the lower rank, on every device."""
    ranks = torch.arange(score.shape[-1], device=score.device)
    return torch.where(score == score.amax(dim=-1, keepdim=True), ranks, score.shape[-1]).amin(dim=-1)


def is_close(score: Tensor, *, beta: float) -> Tensor:
    """Whether rounding may decide which candidate is best, scores (B, K) with this ``beta`` -> (B,) bool."""
    if score.shape[-1] == 1:
        return torch.zeros_like(score[:, 0], dtype=torch.bool)
    best, second = score.topk(2, dim=-1).values.unbind(dim=-1)
    return best - second < near_scores(beta)


def near_scores(weight: float) -> float:
    """Scores that are closer than this may be swapped by rounding, if parts of them with this weight in all are in [0, 1]."""
    return NEAR_SCORES * max(1, weight / 2)


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """Logits (B, V) with all but the k largest of a row at -inf (ties with the k-th stay)."""
    kth = logits.topk(min(k, logits.shape[-1]), dim=-1).values[:, -1:]
    return logits.masked_fill(logits < kth, -torch.inf)


def keep_nucleus(logits: Tensor, p: float) -> Tensor:
    """Logits (B, V) with -inf outside the smallest set of most likely tokens whose mass reaches p."""
    ordered, ids = logits.sort(dim=-1, descending=True, stable=True)
    probs = ordered.softmax(dim=-1)
    outside = probs.cumsum(dim=-1) - probs >= p  # mass before the token already suffices
    outside[:, 0] = False
    return logits.masked_fill(torch.zeros_like(outside).scatter(1, ids, outside), -torch.inf)


def keep_typical(logits: Tensor, mass: float) -> Tensor:
    """Logits (B, V) with -inf outside the locally typical set (Meister et al. 2022, "Locally Typical Sampling").

    The set holds the tokens whose surprise is nearest to the entropy, as few as reach ``mass``, at least one.
    """
    log_probs = logits.log_softmax(dim=-1)
    probs = log_probs.exp()
    entropy = -(probs * log_probs.masked_fill(probs == 0, 0.0)).sum(dim=-1, keepdim=True)
    order = (-log_probs - entropy).abs().sort(dim=-1, stable=True).indices
    ordered = probs.gather(1, order)
    outside = ordered.cumsum(dim=-1) - ordered >= mass
    outside[:, 0] = False
    return logits.masked_fill(torch.zeros_like(outside).scatter(1, order, outside), -torch.inf)


def draw(logits: Tensor, uniform: Tensor) -> Tensor:
    """Draw one token per row by inverting the cumulative distribution.

    Args:
        logits: (B, V), -inf where a token is excluded.
        uniform: (B,) numbers in [0, 1), one per row, so that a row depends on its own generator alone.

    Returns:
        (B,) token ids.
    """
    cumulative = logits.double().softmax(dim=-1).cumsum(dim=-1)
    target = uniform.to(cumulative)[:, None] * cumulative[:, -1:]  # the total is 1 up to rounding
    token = torch.searchsorted(cumulative, target, right=True).squeeze(-1)
    last = logits.shape[-1] - 1 - logits.isfinite().flip(-1).int().argmax(dim=-1)  # never past the last allowed one
    return torch.minimum(token, last)
