"""Modules that compute what a library's compute, with fewer passes over memory. They take the library's places at load."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

MOST_ROWS = 4
"""Rows up to which ``ThinLinear`` goes its own way."""


class ThinLinear(nn.Module):
    """``nn.Linear`` for a few rows, as decoding has them, on the CPU.

    With one to four rows a product costs what reading its weights costs. The way round that torch calls the BLAS library
    then reads them at a third of the memory's speed; ``weight @ rows.T`` reads them at full speed (GPT-2 small's head, two
    rows, two cores of an EPYC: 4.8 ms instead of 25.8).

    Args:
        weight: (out, in), contiguous.
        bias: (out), or None.
    """

    def __init__(self, weight: nn.Parameter, bias: nn.Parameter | None) -> None:
        super().__init__()
        self.weight, self.bias = weight, bias
        self.out_features, self.in_features = weight.shape

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        num_rows = x.numel() // self.in_features
        if not 0 < num_rows <= MOST_ROWS:
            return nn.functional.linear(x, self.weight, self.bias)
        rows = x.reshape(-1, self.in_features)
        if num_rows == 1:  # alone it would be taken for a vector, which is slow again
            rows = rows.repeat(2, 1)
        out = self.weight @ rows.t() if self.bias is None else torch.addmm(self.bias[:, None], self.weight, rows.t())  # (out, rows)
        return out.t()[:num_rows].contiguous().view(*x.shape[:-1], self.out_features)


class QuickGelu(nn.Module):
    """``x * sigmoid(1.702 x)`` as OpenAI's CLIP has it, in one buffer instead of three."""

    def forward(self, x: Tensor) -> Tensor:
        return (1.702 * x).sigmoid_().mul_(x)


def make_lean(model: nn.Module) -> None:
    """Both replacements, in place: for language models."""
    use_thin_products(model)
    use_lean_activations(model)


def use_lean_activations(model: nn.Module) -> None:
    """Replace, in place, CLIP's and GPT-2's activations, which their libraries put together from many operations."""
    from transformers.activations import NewGELUActivation, QuickGELUActivation

    def lean(layer: nn.Module) -> nn.Module | None:
        of_clip = type(layer).__name__ == "QuickGELU" and type(layer).__module__ in ("clip.model", "open_clip.transformer")
        if of_clip or type(layer) is QuickGELUActivation:
            return QuickGelu()
        return nn.GELU(approximate="tanh") if type(layer) is NewGELUActivation else None

    _replace(model, lean)


def use_thin_products(model: nn.Module) -> None:
    """Replace, in place, every plain linear layer whose weights are float32 on the CPU by a ``ThinLinear``."""
    from transformers.pytorch_utils import Conv1D

    def lean(layer: nn.Module) -> nn.Module | None:
        if type(layer) not in (nn.Linear, Conv1D) or layer.weight.device.type != "cpu" or layer.weight.dtype != torch.float32:
            return None
        if type(layer.weight) is not nn.Parameter or "forward" in vars(layer) or layer._forward_hooks or layer._forward_pre_hooks:
            return None  # quantised or otherwise not what it looks like
        if type(layer) is nn.Linear:
            return ThinLinear(layer.weight, layer.bias)
        weight = layer.weight.detach().t().contiguous()  # GPT-2's weights lie the other way round
        return ThinLinear(nn.Parameter(weight, requires_grad=layer.weight.requires_grad), layer.bias)

    _replace(model, lean)


def _replace(model: nn.Module, lean: Callable[[nn.Module], nn.Module | None]) -> None:
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            replacement = lean(layer)
            if replacement is not None:
                setattr(parent, name, replacement.train(layer.training))
