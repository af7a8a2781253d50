"""The embedded matcher's photo network as it is finetuned, and the random views that it is shown.

EfficientNet-Lite0's batch normalisation keeps its statistics, so that each is a scale and a shift of the convolution before it.
Here they are one operation: same numbers, less time. The first blocks, whose activations are the most expensive, stay as they are
and compute in bfloat16 without a way back.

Shapes: B photos, S side length, F features, E embedding.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import torch
from PIL import Image, ImageEnhance
from torch import Tensor, nn
from torch.nn import functional

from magic_cli.data.images import open_image
from magic_cli.models.embedded.backbones import POOLED_BLOCKS, photo_pixels
from magic_cli.models.embedded.image_text_model import EmbeddedImageTextModel

MAX_LOG_SCALE = math.log(60.0)
JITTER = 0.25
"""Brightness, contrast and colour are multiplied by 1 - JITTER to 1 + JITTER; the hue stays, because captions name colours."""


def random_view(image: Image.Image, size: int, smallest: float, rng: random.Random) -> Tensor:
    """A random crop of at least ``smallest`` of the area, perhaps mirrored, in other light: (3, S, S)."""
    area, aspect = rng.uniform(smallest, 1), rng.uniform(0.8, 1.25)
    width = min(image.width, image.width * (area * aspect) ** 0.5)
    height = min(image.height, image.height * (area / aspect) ** 0.5)
    left, top = rng.uniform(0, image.width - width), rng.uniform(0, image.height - height)
    image = image.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + width, top + height))
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = enhance(image).enhance(rng.uniform(1 - JITTER, 1 + JITTER))
    pixels = photo_pixels(image, size)
    return pixels.flip(-1) if rng.random() < 0.5 else pixels


def trained_groups(network: nn.Module, frozen: int, rate: float, decay: float) -> list[dict]:
    """Parameters to train with their learning rates: lower by ``decay`` for each block further from the end."""
    blocks = len(network._blocks)
    layers = [*enumerate(network._blocks), (blocks, network._conv_head), (blocks, network._bn1)]
    groups = []
    for depth, layer in layers:
        if depth < frozen:
            continue
        for weight in layer.parameters():
            weight.requires_grad_(True)
            groups.append(
                {"params": [weight], "base": rate * decay ** (blocks - depth), "weight_decay": 0.01 if weight.ndim > 1 else 0.0}
            )
    return groups


def pooled(network: nn.Module, pixels: Tensor, frozen: int) -> Tensor:
    """What ``PhotoBackbone.pooled`` gives, with a way back beyond the first ``frozen`` blocks: (B, 3, S, S) -> (B, F)."""
    hidden, kept = pixels.contiguous(memory_format=torch.channels_last), []
    with torch.no_grad():
        hidden = _convolve(network._conv_stem, network._bn0, hidden.bfloat16())
        for block in network._blocks[:frozen]:
            hidden = _block(block, hidden)
        hidden = hidden.float()
    for depth, block in enumerate(network._blocks[frozen:], start=frozen):
        hidden = _block(block, hidden)
        if depth in POOLED_BLOCKS:
            kept.append(hidden)
    kept.append(_convolve(network._conv_head, network._bn1, hidden))
    return torch.cat([level.mean((2, 3)) for level in kept], dim=1)


def _block(block: nn.Module, inputs: Tensor) -> Tensor:
    settings, hidden = block._block_args, inputs
    if settings.expand_ratio != 1:
        hidden = _convolve(block._expand_conv, block._bn0, hidden)
    hidden = _convolve(block._depthwise_conv, block._bn1, hidden)
    hidden = _convolve(block._project_conv, block._bn2, hidden, bend=False)
    same = settings.input_filters == settings.output_filters and block._depthwise_conv.stride[0] == 1
    return hidden + inputs if block.id_skip and same else hidden


def _convolve(layer: nn.Conv2d, norm: nn.BatchNorm2d, inputs: Tensor, *, bend: bool = True) -> Tensor:
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    weight = (layer.weight * scale[:, None, None, None]).to(inputs.dtype)
    bias = (norm.bias - norm.running_mean * scale).to(inputs.dtype)
    output = functional.conv2d(layer.static_padding(inputs), weight, bias, layer.stride, 0, 1, layer.groups)
    return functional.relu6(output) if bend else output


class Student(nn.Module):
    """What is learned: the photo network, its head, the map of texts and the temperature."""

    def __init__(self, matcher: EmbeddedImageTextModel, *, frozen: int, dropout: float) -> None:
        super().__init__()
        self.network = matcher.photos.network
        self.head = matcher.heads.image
        self.head.dropout = dropout
        size = self.head.linear.out_features
        self.map = nn.Linear(size, size, bias=False)
        nn.init.eye_(self.map.weight)
        self.log_scale = nn.Parameter(matcher.heads.log_scale.detach().clone())
        self.frozen = frozen

    def photos(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, E)."""
        return self.head(pooled(self.network, pixels, self.frozen))

    def texts(self, embeddings: Tensor) -> Tensor:
        """The tower's (..., E) -> (..., E) of length 1."""
        return functional.normalize(self.map(embeddings.float()), dim=-1)

    @property
    def scale(self) -> Tensor:
        """What a cosine is multiplied by."""
        return self.log_scale.clamp(max=MAX_LOG_SCALE).exp()


class Views:
    """Random views of chosen photos; which ones follows from the seed and the step."""

    def __init__(self, files: Sequence, smallest: float, seed: int) -> None:
        self.files, self.smallest, self.seed = files, smallest, seed

    def draw(self, rows: Sequence[int], size: int, step: int) -> Tensor:
        """(B, 3, S, S)."""
        rng = random.Random(self.seed * 1_000_003 + step)
        return torch.stack([random_view(open_image(self.files[row]), size, self.smallest, rng) for row in rows])
