"""``generate`` as tests like it: images that steer in one argument, options as keywords, token ids out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from magic_cli.decoding import generate as core
from magic_cli.decoding.request import Options


@dataclass
class Guidance:
    """Images that steer the texts, one for every prompt: features (B, E)."""

    scorer: Any
    images: Tensor


def generate(
    model: Any, method: Any, prompts: Sequence[Any], *, guidance: Guidance | None = None, **options: Any
) -> list[list[int]]:
    """Generated token ids of every prompt."""
    guides = [] if guidance is None else [method.image_guide(guidance.scorer, guidance.images)]
    return [written.ids for written in core.generate(model, method, prompts, guides, Options(**options))]
