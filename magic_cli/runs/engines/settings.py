"""The names of the engines; imports neither torch nor Ray."""

from __future__ import annotations

from enum import Enum


class EngineName(Enum):
    """Where batches are written."""

    local = "local"
    ray = "ray"
