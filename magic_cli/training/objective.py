"""The objective as one torch module, so that ``accelerate`` can wrap it. Input: token ids; output: sums of losses."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from magic_cli.models.language.bodies import find_body, is_plain_head, num_embeddings
from magic_cli.training.simctg import IGNORED, contrastive_loss, token_loss


class Objective(nn.Module):
    """Sums of the losses of right-padded sequences.

    No attention mask is needed: attention is causal, so no real token looks at the padding after it. The output head runs on real
    tokens only, unless its logits are more than ``head(hidden)`` (scaled or soft-capped heads).

    Args:
        model: Causal LM.
        margin: Margin of the contrastive term; 0: the term is left out, and its sum is 0.
        per_sequence: Normalisation of the contrastive term.
    """

    def __init__(self, model: Any, *, margin: float = 0.0, per_sequence: bool = False) -> None:
        super().__init__()
        self.model, self.margin, self.per_sequence = model, margin, per_sequence
        with _in_eval_mode(model):
            self._body = (find_body(model),)  # a tuple hides it from torch, which must not register it twice
            self.head_is_plain = _head_is_plain(model, self._body[0])

    def forward(self, inputs: Tensor, labels: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Sums of cross-entropy and of the contrastive term over (B, T) tokens: two scalars."""
        is_real = labels != IGNORED
        hidden, logits = self.states_and_logits(inputs, is_real)
        likelihood = token_loss(logits, labels[is_real])
        if not self.margin:
            return likelihood, likelihood.new_zeros(())
        return likelihood, contrastive_loss(hidden, lengths, margin=self.margin, per_sequence=self.per_sequence)

    def states_and_logits(self, inputs: Tensor, is_real: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden states (B, T, H) of the last layer, and next-token scores (N, V) of the N real tokens among (B, T)."""
        if self.head_is_plain:
            hidden = self._body[0](inputs, use_cache=False).last_hidden_state
            return hidden, self.model.get_output_embeddings()(hidden[is_real])
        out = self.model(inputs, use_cache=False, output_hidden_states=True)
        return out.hidden_states[-1], out.logits[is_real]


@contextlib.contextmanager
def _in_eval_mode(model: nn.Module) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


@torch.no_grad()
def _head_is_plain(model: Any, body: nn.Module) -> bool:
    """Whether the head alone gives the logits of the model."""
    ids = torch.arange(min(8, num_embeddings(model)), device=model.device)[None]
    hidden, own = body(ids, use_cache=False).last_hidden_state, model(ids, use_cache=False).logits
    return is_plain_head(model.get_output_embeddings(), hidden, own, tolerance=1e-4)
