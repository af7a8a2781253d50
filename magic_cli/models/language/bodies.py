"""The body of a causal language model, found by what it returns, and whether it is causal."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from magic_cli.models.faults import Fault, ModelFault

if TYPE_CHECKING:
    from transformers import PreTrainedModel

log = logging.getLogger(__name__)

OTHER_MODEL = "name a causal language model (GPT-2, OPT, Llama, ...)"
_PROBED = 8
"""Tokens of a probe; those of its second half differ between the rows."""

_TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-9, torch.bfloat16: 2e-2, torch.float16: 2e-3}
"""Difference that rounding explains, relative to the states. Later tokens change BERT's by 1e-3 even with fresh weights."""


class WholeModel(nn.Module):
    """A causal model as its own body: it gives hidden states, but computes the scores of all tokens, too.

    Args:
        model: A Hugging Face causal LM.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model, self.config = model, model.config
        self.train(model.training)

    def forward(self, input_ids: Tensor, **options: Any) -> Any:
        """The last hidden states (B, T, H) and the cache after them."""
        out = self.model(input_ids, **options, output_hidden_states=True)
        return SimpleNamespace(last_hidden_state=out.hidden_states[-1], past_key_values=getattr(out, "past_key_values", None))


def num_embeddings(model: PreTrainedModel) -> int:
    """How many token ids a model can read: 0 up to this."""
    embeddings: Any = model.get_input_embeddings()
    return embeddings.weight.shape[0]


def is_plain_head(
    head: Any, hidden: Tensor, own: Tensor, *, tolerance: float, score: Callable[[Tensor], Tensor] | None = None
) -> bool:
    """Whether ``head(hidden)`` gives a model's own logits (not so for scaled or soft-capped heads).

    Args:
        head: Its output head.
        hidden: (..., H) hidden states of its body.
        own: (..., V) logits that the model itself gives there.
        tolerance: Difference that rounding explains, relative to the largest logit.
        score: Applies the head; None: the head itself.
    """
    if hidden.shape[-1] != head.weight.shape[-1]:
        return False  # something stands between body and head
    plain = (score or head)(hidden)
    return bool(torch.allclose(plain, own, rtol=0, atol=tolerance * float(own.abs().amax())))


def takes_positions(body: nn.Module) -> bool:
    """Whether a body takes the positions of its tokens as an argument."""
    forward = body.model.forward if isinstance(body, WholeModel) else body.forward
    return "position_ids" in inspect.signature(forward).parameters


@torch.no_grad()
def find_body(model: PreTrainedModel) -> nn.Module:
    """The module that gives a causal LM's last hidden states: a part of it, or the whole model if no part does.

    Args:
        model: A Hugging Face causal LM in eval mode.

    Raises:
        ModelFault: It has no output head, or no module in it gives hidden states.
    """
    head = model.get_output_embeddings()
    if getattr(head, "weight", None) is None:
        raise ModelFault([Fault("network", f"{type(model).__name__} has no output head", OTHER_MODEL)])
    ids = _probe(model)
    if model.base_model is not model and _states(model.base_model, ids) is not None:
        return model.base_model
    own = model(ids, use_cache=False).logits
    for part in model.children():
        states = _states(part, ids)
        if states is None or states.shape[-1] != head.weight.shape[-1]:
            continue
        if torch.allclose(head(states), own, atol=1e-3 * float(own.abs().amax())):
            return part
    whole = WholeModel(model)
    if _states(whole, ids) is None:
        raise ModelFault([Fault("network", f"{type(model).__name__} gives no hidden states of a text", OTHER_MODEL)])
    return whole


def _states(part: nn.Module, ids: Tensor) -> Tensor | None:
    """Hidden states (B, T, H) of ids (B, T), if that is what a part of a model gives."""
    try:
        states = getattr(part(ids, use_cache=False), "last_hidden_state", None)
    except Exception as error:  # what is no body may raise anything
        log.info("%s gives no hidden states: %s", type(part).__name__, error)
        return None
    return states if isinstance(states, Tensor) and states.dim() == 3 and states.shape[:2] == ids.shape else None


@torch.no_grad()
def causal_faults(model: PreTrainedModel, body: nn.Module) -> list[Fault]:
    """Whether later tokens change the states of earlier ones, as in BERT without ``is_decoder``."""
    states = body(_probe(model), use_cache=False).last_hidden_state[:, : _PROBED // 2].float()  # (2, T / 2, H)
    if not bool(states.isfinite().all()):
        text = f"{type(model).__name__} gives hidden states that are no numbers in {str(model.dtype).removeprefix('torch.')}"
        return [Fault("numbers", text, "set run.dtype=float32, or name another model")]
    change = (states[0] - states[1]).norm(dim=-1) / states[0].norm(dim=-1)  # (T / 2,)
    if float(change.min()) <= _TOLERANCE.get(model.dtype, 1e-5):
        return []
    return [
        Fault(
            "network",
            f"{type(model).__name__} is not causal: what follows a token changes how it is read",
            f'{OTHER_MODEL}; one of BERT\'s kind that was trained as a decoder needs "is_decoder": true in its config.json',
        )
    ]


def _probe(model: PreTrainedModel) -> Tensor:
    """(2, T) token ids, alike in the first half and different in each place of the second."""
    size = num_embeddings(model)
    row = torch.arange(_PROBED) + size // 2
    other = row.clone()
    other[_PROBED // 2 :] += _PROBED
    return (torch.stack([row, other]) % size).to(model.device)
