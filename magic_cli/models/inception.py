"""Inception v3 in its two forms: as Google trained it in 2015 and FID is defined on it, and as torchvision has it."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import Inception_V3_Weights
from torchvision.models import inception as blocks
from torchvision.transforms.functional import resize, to_tensor

from magic_cli.errors import MagicError
from magic_cli.files import sha256

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 299
_SHORT_SIDE = 256


class InceptionNetwork:
    """Features and class scores of images."""

    def __init__(self, weights: Path, device: torch.device, *, of_2015: bool) -> None:
        """Load the network.

        Args:
            weights: File of a state dict.
            device: Where it runs, in float32.
            of_2015: Which form it has.

        Raises:
            MagicError: The file is damaged, or of another network.
        """
        self._of_2015, self._device = of_2015, device
        network: Any = (
            _network_of_2015() if of_2015 else blocks.Inception3(aux_logits=True, transform_input=True, init_weights=False)
        )
        _load(network, weights, of_2015=of_2015)
        self._network = network.eval().requires_grad_(False).to(device)
        self._head, network.fc, network.AuxLogits = network.fc, nn.Identity(), None
        self._facts = {
            "network": "Inception 2015" if of_2015 else "torchvision Inception v3",
            "weights": {"file": weights.name, "sha256": sha256(weights)},
        }

    def facts(self) -> dict[str, Any]:
        """What metrics.json says of it."""
        return self._facts

    def features(self, images: Sequence[Image]) -> Tensor:
        """(N, 2048) after the last pooling; for the network of 2015 images are first scaled to 256 pixels, as the released code
        does."""
        return self._read(images, scaled=True)

    def logits(self, images: Sequence[Image]) -> Tensor:
        """(N, C) class scores; of the network of 2015 without the bias, as all implementations of the Inception Score have it."""
        return functional.linear(self._read(images, scaled=False), self._head.weight, None if self._of_2015 else self._head.bias)

    def _read(self, images: Sequence[Image], *, scaled: bool) -> Tensor:
        with torch.inference_mode():
            return self._network(torch.cat([self._prepare(image, scaled=scaled) for image in images]).to(self._device))

    def _prepare(self, image: Image, *, scaled: bool) -> Tensor:
        """(1, 3, 299, 299) as the network was trained on."""
        if not self._of_2015:
            return Inception_V3_Weights.IMAGENET1K_V1.transforms()(image)[None]
        pixels = (
            (to_tensor(resize(image, _SHORT_SIDE) if scaled else image) * 255).byte().float()[None]
        )  # cut off as torchmetrics does
        return (functional.interpolate(pixels, (SIDE, SIDE), mode="bilinear", align_corners=False, antialias=True) - 128) / 128


def _load(network: nn.Module, weights: Path, *, of_2015: bool) -> None:
    kind = "the Inception network of 2015, which has 1008 classes" if of_2015 else "torchvision's Inception v3"
    try:
        state = torch.load(weights, map_location="cpu", weights_only=True)
        network.load_state_dict(state)
    except (pickle.UnpicklingError, EOFError, OSError, RuntimeError, TypeError, AttributeError, KeyError, ValueError) as error:
        raise MagicError(
            f"{weights}: is no file of weights of {kind} ({str(error).splitlines()[0][:120]}); download it again"
        ) from error


def _network_of_2015() -> nn.Module:
    network = blocks.Inception3(num_classes=1008, aux_logits=False, transform_input=False, init_weights=False)
    network.Mixed_5b, network.Mixed_5c, network.Mixed_5d = _A(192, 32), _A(256, 64), _A(288, 64)
    network.Mixed_6b, network.Mixed_6c, network.Mixed_6d, network.Mixed_6e = (
        _C(768, channels) for channels in (128, 160, 160, 192)
    )
    network.Mixed_7b, network.Mixed_7c = _E(1280), _LastE(2048)
    return network


def _mean(pixels: Tensor) -> Tensor:
    """Mean of 3 x 3 neighbours. Unlike in torchvision's network, those outside the image do not count."""
    return functional.avg_pool2d(pixels, kernel_size=3, stride=1, padding=1, count_include_pad=False)


class _A(blocks.InceptionA):
    def _forward(self, x: Tensor) -> list[Tensor]:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return [self.branch1x1(x), self.branch5x5_2(self.branch5x5_1(x)), double, self.branch_pool(_mean(x))]


class _C(blocks.InceptionC):
    def _forward(self, x: Tensor) -> list[Tensor]:
        single = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))))
        return [self.branch1x1(x), single, double, self.branch_pool(_mean(x))]


class _E(blocks.InceptionE):
    def _pool(self, x: Tensor) -> Tensor:
        return _mean(x)

    def _forward(self, x: Tensor) -> list[Tensor]:
        single = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        return [
            self.branch1x1(x),
            torch.cat([self.branch3x3_2a(single), self.branch3x3_2b(single)], 1),
            torch.cat([self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double)], 1),
            self.branch_pool(self._pool(x)),
        ]


class _LastE(_E):
    def _pool(self, x: Tensor) -> Tensor:
        """The greatest neighbour, where all other blocks take the mean."""
        return functional.max_pool2d(x, kernel_size=3, stride=1, padding=1)
