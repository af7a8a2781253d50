"""EfficientNet-Lite on the CPU with fewer passes over memory: each convolution computes its norm and ReLU6, too.

Shapes: B photos, C channels, S side.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

log = logging.getLogger(__name__)

_TOLERANCE = 1e-4
"""The largest difference that rounding explains; the numbers are at most 6."""


class FusedConvolution(nn.Module):
    """A convolution with the batch norm, and the ReLU6 if there is one, behind it: one pass of oneDNN, (B, C, S, S) to (B, C', S', S').

    Args:
        convolution: One of EfficientNet-Lite's, which pads its input by itself; it stays as it is.
        norm: In eval mode.
        is_clipped: Whether a ReLU6 follows.
    """

    def __init__(self, convolution: Any, norm: nn.BatchNorm2d, *, is_clipped: bool) -> None:
        super().__init__()
        fused = fuse_conv_bn_eval(convolution, norm)
        self.pad, self.bias = convolution.static_padding, fused.bias.detach()
        self.weight = fused.weight.detach().contiguous(memory_format=torch.channels_last)
        self._how = [0, 0], list(convolution.stride), [1, 1], convolution.groups
        self._behind = ("hardtanh", [0.0, 6.0], "") if is_clipped else ("none", [], "")

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._convolution_pointwise(self.pad(x), self.weight, self.bias, *self._how, *self._behind)


class FusedNetwork(nn.Module):
    """An EfficientNet-Lite in eval mode, in float32 on the CPU; its weights are copied.

    Args:
        network: As its package makes it.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.stem = FusedConvolution(network._conv_stem, network._bn0, is_clipped=True)
        self.blocks = nn.ModuleList(_fused_block(block) for block in network._blocks)
        self.adds = [_adds(block) for block in network._blocks]
        self.head = FusedConvolution(network._conv_head, network._bn1, is_clipped=True)

    @classmethod
    def of(cls, network: nn.Module) -> FusedNetwork | None:
        """The fused network; None: this torch or processor cannot run it, or the network is not in float32 on the CPU."""
        weight = next(network.parameters())
        return cls(network) if weight.device.type == "cpu" and weight.dtype == torch.float32 and _can_fuse() else None

    def forward(self, pixels: Tensor, kept: tuple[int, ...]) -> list[Tensor]:
        """Outputs of some blocks, by their numbers, and of the last convolution."""
        x, levels = self.stem(pixels), []
        for number, (block, adds) in enumerate(zip(self.blocks, self.adds, strict=True)):
            x = block(x).add_(x) if adds else block(x)
            if number in kept:
                levels.append(x)
        return [*levels, self.head(x)]


def _fused_block(block: Any) -> nn.Sequential:
    parts = [
        FusedConvolution(block._depthwise_conv, block._bn1, is_clipped=True),
        FusedConvolution(block._project_conv, block._bn2, is_clipped=False),
    ]
    if block._block_args.expand_ratio != 1:
        parts.insert(0, FusedConvolution(block._expand_conv, block._bn0, is_clipped=True))
    return nn.Sequential(*parts)


def _adds(block: Any) -> bool:
    """Whether a block adds its input to its output."""
    sizes = block._block_args
    return bool(block.id_skip) and sizes.stride == 1 and sizes.input_filters == sizes.output_filters


@cache
def _can_fuse() -> bool:
    """Whether this torch has the fused convolution for this processor; it is tried on a small one."""
    if not torch.backends.mkldnn.is_available():
        return False
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):  # not skip_init, which imports sympy
        convolution = nn.Conv2d(8, 8, 3, groups=8, bias=False).eval()
    convolution.weight.data = torch.rand(8, 1, 3, 3, generator=generator)
    convolution.static_padding = nn.ZeroPad2d(1)
    norm, pixels = nn.BatchNorm2d(8).eval(), torch.rand(1, 8, 6, 6, generator=generator)
    try:
        with torch.inference_mode():
            expected = nn.functional.relu6(norm(convolution(convolution.static_padding(pixels))))
            found = FusedConvolution(convolution, norm, is_clipped=True)(pixels.contiguous(memory_format=torch.channels_last))
            return bool((found - expected).abs().max() <= _TOLERANCE)
    except (RuntimeError, AttributeError) as error:  # built without oneDNN, or a processor for which it has nothing
        log.info("convolutions stay as they are: %s", error)
        return False
