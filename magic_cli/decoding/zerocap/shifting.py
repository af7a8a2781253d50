"""The arithmetic of ZeroCap: losses, gradient steps on a context, and the distribution that comes out.

Shapes: R rows (beams), V vocabulary, E embedding; a context is a list of tensors with the rows first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

_TINY = 1e-15


def image_targets(cosines: Tensor, ids: Tensor, vocab_size: int, *, temperature: float) -> Tensor:
    """The image's distribution: softmax of the texts' cosines (R, N) at their tokens ``ids`` (R, N), zero elsewhere, (R, V)."""
    t = (cosines / temperature).softmax(dim=-1)
    return t.new_zeros(len(t), vocab_size).scatter(1, ids, t)


def image_loss(log_p: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy ``- sum t log p`` of each row, (R, V) x (R, V) -> (R,); no gradient through the targets."""
    # 0 * -inf would be NaN where a token has no probability at all
    return -torch.where(targets > 0, targets.detach() * log_p, 0.0).sum(dim=-1)


def divergence(logits: Tensor, log_p0: Tensor) -> Tensor:
    """KL(p || p0) of each row, p = softmax(logits), (R, V) x (R, V) -> (R,).

    Its gradient is written out, p (log p - log p0 - KL): autograd's is not zero at p = p0 but rounding noise, which the
    division by a power of its norm would blow up.
    """
    log_p = logits.log_softmax(dim=-1).detach()
    p = log_p.exp()
    difference = torch.where(p > 0, log_p - log_p0, 0.0)
    value = (p * difference).sum(dim=-1)
    gradient = p * (difference - value[:, None])
    carrier = (gradient * logits.masked_fill(p == 0, 0.0)).sum(dim=-1)
    return value + carrier - carrier.detach()


def gradient_step(delta: Tensor, gradient: Tensor, *, step_size: float, norm_factor: float) -> Tensor:
    """``delta - step_size g / (||g|| + 1e-15) ** norm_factor``, every row with the norm of its own gradient."""
    norm = gradient.flatten(1).norm(dim=1).view(-1, *[1] * (gradient.dim() - 1))
    return delta - step_size * gradient / (norm + _TINY) ** norm_factor


@dataclass
class Shifted:
    """A step's distributions, and how it got there."""

    logits: Tensor
    """(R, V) on the shifted context."""
    log_p0: Tensor
    """(R, V) on the context as it was."""
    losses: list[dict[str, list[float]]] = field(default_factory=list)
    """For every iteration the image loss and the divergence of each row."""


@dataclass(frozen=True)
class Steps:
    """The gradient steps of ``shift``.

    Attributes:
        iterations: How many.
        clip_scale: Weight of the image loss.
        ce_scale: Weight of the divergence.
        step_size, norm_factor: See ``gradient_step``.
    """

    iterations: int
    clip_scale: float
    ce_scale: float
    step_size: float
    norm_factor: float


def shift(
    logits_on: Callable[[list[Tensor]], Tensor],
    context: Sequence[Tensor],
    targets: Callable[[Tensor], Tensor] | None,
    how: Steps,
) -> Shifted:
    """Move a context by gradient steps, and read the next token's scores on it.

    Args:
        logits_on: Context -> scores (R, V), differentiable.
        context: Where it starts.
        targets: log p (R, V) -> the image's distribution (R, V); None: the image takes no part.
        how: The gradient steps.
    """
    if targets is None:  # nothing would move: the divergence alone is smallest where it starts
        logits = logits_on(list(context))
        return Shifted(logits, logits.log_softmax(dim=-1))
    with torch.inference_mode(False), torch.enable_grad():
        context = [tensor.clone() for tensor in context]  # tensors of inference mode cannot take part
        deltas = [torch.zeros_like(tensor, dtype=torch.promote_types(tensor.dtype, torch.float32)) for tensor in context]
        log_p0: Tensor | None = None
        losses: list[dict[str, list[float]]] = []
        for _ in range(how.iterations):
            deltas = [delta.requires_grad_() for delta in deltas]
            logits = logits_on([(tensor + delta).to(tensor.dtype) for tensor, delta in zip(context, deltas, strict=True)])
            log_p = logits.log_softmax(dim=-1)
            log_p0 = log_p.detach() if log_p0 is None else log_p0  # nothing is moved yet
            with torch.inference_mode():
                wanted = targets(log_p.detach())
            by_image, by_model = image_loss(log_p, wanted.clone()), divergence(logits, log_p0)
            losses.append({"image_loss": by_image.tolist(), "divergence": by_model.tolist()})
            gradients = torch.autograd.grad((how.clip_scale * by_image + how.ce_scale * by_model).sum(), deltas)
            deltas = [
                gradient_step(delta.detach(), gradient, step_size=how.step_size, norm_factor=how.norm_factor)
                for delta, gradient in zip(deltas, gradients, strict=True)
            ]
        with torch.no_grad():
            logits = logits_on([(tensor + delta).to(tensor.dtype) for tensor, delta in zip(context, deltas, strict=True)])
    return Shifted(logits, logits.log_softmax(dim=-1) if log_p0 is None else log_p0, losses)


def make_less_likely(logits: Tensor, chosen: Tensor, factor: float) -> Tensor:
    """Logits (R, V) whose ``chosen`` ones (R or 1, V) bool are divided by ``factor`` if positive, else multiplied."""
    return torch.where(chosen, torch.where(logits > 0, logits / factor, logits * factor), logits)


def fuse(logits: Tensor, log_p0: Tensor, fusion_factor: float) -> Tensor:
    """Log probabilities (R, V) of ``softmax(logits) ** fusion * p0 ** (1 - fusion)``, renormalised; logits of -inf stay -inf."""
    fused = fusion_factor * logits.log_softmax(dim=-1) + (1 - fusion_factor) * log_p0
    return fused.masked_fill(logits == -torch.inf, -torch.inf).log_softmax(dim=-1)
