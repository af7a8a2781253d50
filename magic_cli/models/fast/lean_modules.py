"""Modules that compute the same as a library's, in fewer passes over memory. They replace the library's when a model loads."""

from __future__ import annotations

import copy
import logging
import platform
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

log = logging.getLogger(__name__)


class PackedLinear(nn.Module):
    """``nn.Linear`` on the CPU whose weights lie in the order in which oneDNN reads them, with the activation behind it.

    Decoding has one to some hundred rows. For so few, torch's own way lays the weights out anew at every call, or reads them at
    a fraction of the memory's speed, and which of its ways is the slow one differs from processor to processor. Once packed,
    12 layers of GPT-2 small take 35 ms with 16 rows instead of 97 (2 cores of a Xeon), and a product of 47 rows and CLIP's
    weights 0.67 of its time.

    Args:
        layer: The layer that it replaces.
        keep: Whether the plain weights stay in memory too: another layer may use them, and for a single row they may be the quicker
            ones (``_plain_suits_single_rows``).
        activation: Computed in the same pass.
    """

    def __init__(self, layer: nn.Linear, *, keep: bool = False, activation: _Fused | None = None) -> None:
        super().__init__()
        self.out_features, self.in_features = layer.weight.shape
        self.bias, self.activation = layer.bias, activation
        self._bias = None if layer.bias is None else layer.bias.detach()  # the same memory, found without nn.Module's search
        self._fusion = ("none", [], "") if activation is None else activation.fusion
        self._plain = layer.weight if keep else None
        self._packed = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), None)
        self._differentiable: list[nn.Module] = []
        """The plain layers, once gradients were asked for; in a list, so that they are no part of this module."""

    @property
    def is_kept(self) -> bool:
        """Whether the weights are there plain, too."""
        return self._plain is not None

    @property
    def weight(self) -> Tensor:
        """(out, in), unpacked."""
        return self._packed.to_dense() if self._plain is None else self._plain

    def unpack(self) -> nn.Module:
        """Plain layers that compute the same."""
        layer = linear(self.weight, self.bias)
        return layer if self.activation is None else nn.Sequential(layer, self.activation.module)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        if torch.is_grad_enabled() or not x.numel():
            if not self._differentiable:
                self._differentiable.append(self.unpack())
            return self._differentiable[0](x)
        if self._plain is not None and x.numel() == self.in_features and x.dtype == torch.float32 and _plain_suits_single_rows():
            out = nn.functional.linear(x, self._plain, self.bias)
            return out if self.activation is None else self.activation.module(out)
        rows = x if x.dim() == 2 else x.reshape(-1, self.in_features)
        out = torch.ops.mkldnn._linear_pointwise.default(rows, self._packed, self._bias, *self._fusion)
        return out if x.dim() == 2 else out.view(*x.shape[:-1], self.out_features)

    def added_to(self, x: Tensor, y: Tensor) -> Tensor:
        """``x + forward(y)`` for x (N, out) and y (N, in), in one pass where that rounds as two do."""
        by_itself = torch.is_grad_enabled() or not y.numel() or y.dtype != torch.float32 or self.activation is not None
        if by_itself or (self._plain is not None and len(y) == 1 and _plain_suits_single_rows()):
            return x + self.forward(y)
        return torch.ops.mkldnn._linear_pointwise.binary(y, x, self._packed, self._bias, "add")


class QuickGelu(nn.Module):
    """``x * sigmoid(1.702 x)`` as OpenAI's CLIP has it, in one buffer instead of three."""

    scale = 1.702

    def forward(self, x: Tensor) -> Tensor:
        gate = self.scale * x
        return x * gate.sigmoid() if torch.is_grad_enabled() else gate.sigmoid_().mul_(x)


_SMALL = 512 << 20
"""Bytes of weights up to which a language model keeps those that are packed plain, too, where that pays: GPT-2 small does."""


def make_lean(model: nn.Module) -> None:
    """Both replacements, in place: for language models."""
    use_lean_activations(model)
    weights = list(model.parameters())
    is_small = sum(weight.nbytes for weight in weights) <= _SMALL
    pack_products(model, keep=is_small and weights[0].dtype == torch.float32 and _plain_suits_single_rows())


def use_lean_activations(model: nn.Module) -> None:
    """Replace, in place, CLIP's and GPT-2's activations, which their libraries put together from many operations."""

    def lean(layer: Any) -> nn.Module | None:
        match type(layer).__module__, type(layer).__name__:  # by name: to import the libraries takes seconds
            case ("clip.model" | "open_clip.transformer", "QuickGELU") | ("transformers.activations", "QuickGELUActivation"):
                return QuickGelu()
            case ("transformers.activations", "GELUActivation") if layer.act is nn.functional.gelu:
                return nn.GELU()
            case ("transformers.activations", "NewGELUActivation"):
                return nn.GELU(approximate="tanh")
        return None

    _replace(model, lean)


def pack_products(model: nn.Module, *, keep: bool = False) -> None:
    """Replace, in place, every plain linear layer whose weights can be packed by a ``PackedLinear``, which may ``keep`` them plain, too.

    Where it is followed by an activation that oneDNN knows, that joins it.
    """
    from transformers.pytorch_utils import Conv1D

    uses = Counter(id(weight) for layer in model.modules() for weight in layer.parameters(recurse=False))

    def lean(layer: Any) -> nn.Module | None:
        if type(layer).forward not in (nn.Linear.forward, Conv1D.forward) or not _can_pack(
            layer.weight.device.type, layer.weight.dtype
        ):
            return None
        if type(layer.weight) is not nn.Parameter or "forward" in vars(layer) or layer._forward_hooks or layer._forward_pre_hooks:
            return None  # quantised or otherwise not what it looks like
        if type(layer).forward is nn.Linear.forward:
            return PackedLinear(layer, keep=keep or uses[id(layer.weight)] > 1)
        return PackedLinear(linear(layer.weight.detach().t(), layer.bias), keep=keep)  # GPT-2's weights lie the other way round

    _replace(model, lean)
    for module in list(model.modules()):
        _join_activation(module)


def unpack_products(model: nn.Module) -> None:
    """Undo ``pack_products``, in place: for what has to look into the layers, such as torch.compile."""
    _replace(model, lambda layer: layer.unpack() if isinstance(layer, PackedLinear) else None)


def packed(module: nn.Module) -> nn.Module:
    """A module that computes what ``module`` computes, its linear layers packed; ``module`` and its weights stay as they are."""
    holder = nn.Sequential(_shallow_copy(module))
    pack_products(holder)
    return holder[0]


class Chain(nn.Sequential):
    """Modules one after the other, without what ``nn.Module`` does around each call: it takes a fifth of a small product's time.

    Args:
        parts: Of a ``nn.Sequential`` its members take part. Hooks are not run.
    """

    def __init__(self, *parts: nn.Module) -> None:
        super().__init__(*(member for part in parts for member in _members(part)))

    def forward(self, x: Tensor) -> Tensor:
        for part in self._modules.values():
            x = part.forward(x)
        return x

    def added_to(self, x: Tensor, y: Tensor) -> Tensor:
        """``x + forward(y)``."""
        *others, last = self._modules.values()
        for part in others:
            y = part.forward(y)
        return added(x, last, y)


def added(x: Tensor, part: nn.Module, y: Tensor) -> Tensor:
    """``x + part(y)`` for x (N, out) and y (N, in); where the part ends with a packed product, that adds in the same pass."""
    return part.added_to(x, y) if isinstance(part, PackedLinear | Chain) else x + part.forward(y)


def _members(module: nn.Module) -> list[nn.Module]:
    if type(module) is nn.Sequential:
        return [member for part in module for member in _members(part)]
    return [] if isinstance(module, nn.Identity) else [module]


def _shallow_copy(module: nn.Module) -> nn.Module:
    """Other modules, the same weights."""
    copied = copy.copy(module)
    copied._modules = {name: _shallow_copy(child) for name, child in module.named_children()}
    return copied


@dataclass(frozen=True)
class _Fused:
    """An activation as oneDNN has it: ``module(x * scale) / scale`` is the library's."""

    fusion: tuple[str, list[float], str]
    module: nn.Module
    scale: float = 1.0

    @classmethod
    def of(cls, activation: nn.Module | None) -> _Fused | None:
        if type(activation) is QuickGelu:
            return cls(("swish", [1.0], ""), nn.SiLU(), QuickGelu.scale)
        if type(activation) is nn.GELU:
            return cls(("gelu", [], activation.approximate), activation)
        return None


_MLPS = ("fc1", "activation_fn", "fc2"), ("c_fc", "gelu", "c_proj"), ("c_fc", "act", "c_proj")
"""Names of the parts of a feed-forward block: in Hugging Face's CLIP, OpenAI's and OpenCLIP's, GPT-2."""


def _join_activation(mlp: nn.Module) -> None:
    """Let the first product of a feed-forward block compute its activation, in place, if it is such a block."""
    for names in _MLPS:
        first, activation, last = (getattr(mlp, name, None) for name in names)
        if not (type(first) is type(last) is PackedLinear) or first.activation is not None:
            continue
        fused = _Fused.of(activation)
        if fused is None:
            continue
        bias = None if first.bias is None else first.bias.detach() * fused.scale
        setattr(mlp, names[0], PackedLinear(linear(first.weight * fused.scale, bias), keep=first.is_kept, activation=fused))
        setattr(mlp, names[1], nn.Identity())
        if fused.scale != 1:
            setattr(mlp, names[2], PackedLinear(linear(last.weight / fused.scale, last.bias), keep=last.is_kept))


def linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """A linear layer on these weights (out, in), which are not copied."""
    out_features, in_features = weight.shape
    layer: Any = nn.Linear(in_features, out_features, bias=False, device="meta")  # its bias is typed as always there
    layer.weight = nn.Parameter(weight.detach(), requires_grad=False)
    layer.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)
    return layer


@cache
def _plain_suits_single_rows() -> bool:
    """Whether one row is multiplied faster by plain weights than by packed ones: on Intel's processors, for which MKL is made.

    There it takes four fifths of the time (Xeon), on an AMD EPYC three times as long (19 ms instead of 6 for 12 layers of GPT-2 small). It is not measured, so that the same machine always rounds alike.
    """
    file = Path("/proc/cpuinfo")
    name = file.read_text() if file.exists() else platform.processor()
    return torch.backends.mkl.is_available() and "Intel" in name


@cache
def _can_pack(device: str, dtype: torch.dtype) -> bool:
    """Whether this torch can multiply packed weights of a type, found out by trying."""
    if device != "cpu" or dtype not in (torch.float32, torch.bfloat16) or not torch.backends.mkldnn.is_available():
        return False
    generator = torch.Generator().manual_seed(0)
    layer = linear(torch.rand(48, 32, generator=generator).to(dtype), torch.rand(48, generator=generator).to(dtype))
    x = torch.rand(3, 32, generator=generator).to(dtype)
    try:
        with torch.inference_mode():
            lean, y = PackedLinear(layer), layer(x)
            difference = torch.stack([lean(x) - y, lean.added_to(y, x) - y - y]).float().abs().max().item()
    except (RuntimeError, AttributeError) as error:  # built without oneDNN, or a processor for which it has nothing
        log.info("linear layers stay as they are: %s", error)
        return False
    return difference <= (1e-4 if dtype == torch.float32 else 0.25)  # of sums near 8


def _replace(model: nn.Module, lean: Callable[[nn.Module], nn.Module | None]) -> None:
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            replacement = lean(layer)
            if replacement is not None:
                setattr(parent, name, replacement.train(layer.training))
