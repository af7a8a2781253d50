"""Networks of magic's own, read from files that transformers wrote. They need only a small part of transformers.

GPT-2 and CLIP's text tower of transformers import distributed training, compilation and object detection: 2 of the 5 seconds
after which `magic caption` has its first caption. The shipped models need none of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from safetensors.torch import load_file
from torch import Tensor, nn


class OwnNetwork(nn.Module):
    """A network whose ``from_pretrained`` reads a folder as that of transformers does, for ``read_pretrained``.

    Its weights have the names that they have in the folder's ``model.safetensors``.

    Attributes:
        config: The config object of transformers.
    """

    base_model_prefix: ClassVar[str] = ""
    tied: ClassVar[frozenset[str]] = frozenset()
    """Names of weights that are the same tensor as another one of the network; no file holds them."""
    config: Any

    @classmethod
    def read_config(cls, folder: Path) -> Any:
        """The config of transformers in a folder."""
        raise NotImplementedError(f"{cls.__name__}.read_config")

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: Path | None,
        *,
        dtype: torch.dtype,
        config: Any = None,
        state_dict: Mapping[str, Tensor] | None = None,
        **_options: Any,
    ) -> tuple[Self, dict[str, Any]]:
        """The network, and which weights were missing, left over or of another shape, as transformers tells with ``output_loading_info``.

        Args:
            pretrained_model_name_or_path: A local folder; None: ``config`` and ``state_dict`` are given instead.
            dtype: Type of the weights.
            config: The config object of transformers.
            state_dict: The weights, by their names in this network.
        """
        with torch.random.fork_rng(devices=[]):  # not on the meta device, whose random numbers import torch._dynamo
            network = cls(
                config if pretrained_model_name_or_path is None else cls.read_config(Path(pretrained_model_name_or_path))
            )
        needed = network.state_dict()
        stored = dict(state_dict or {})
        if pretrained_model_name_or_path is not None:
            stored = network.adapt(load_file(Path(pretrained_model_name_or_path) / "model.safetensors"))
        fitting = {
            name: tensor.to(dtype) for name, tensor in stored.items() if name in needed and tensor.shape == needed[name].shape
        }
        network.load_state_dict(fitting, strict=False, assign=True)
        network.tie()
        loading = {
            "missing_keys": set(needed) - set(stored) - network.tied,
            "unexpected_keys": set(stored) - set(needed),
            "mismatched_keys": {
                (name, tensor.shape, needed[name].shape)
                for name, tensor in stored.items()
                if name in needed and tensor.shape != needed[name].shape
            },
        }
        return network.eval().requires_grad_(False), loading

    def can_generate(self) -> bool:
        """As in transformers: whether there is a generation config."""
        return False

    def adapt(self, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights of a file, in the layout that this network has."""
        return dict(stored)

    def tie(self) -> None:
        """Make weights that are shared the same tensor."""

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype
