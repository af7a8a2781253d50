"""Names of engines; no torch, no Ray."""

from __future__ import annotations

from enum import Enum


class EngineName(Enum):
    """Where batches are written."""

    local = "local"
    ray = "ray"
