"""The lines of ``magic doctor``, and a search for models of the hub in the local cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import util
from pathlib import Path

WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")


@dataclass
class Finding:
    """One line of the report."""

    topic: str
    state: str
    """``ok``, ``missing`` (an optional feature), ``note`` (unusual) or ``broken`` (magic, or the model, cannot be used)."""
    text: str
    remedy: str = ""


def hub_model(topic: str, group: str, name: str, revision: str, files: Sequence[str] = WEIGHTS) -> Finding:
    """Whether one of these files of a hub model is in the local cache."""
    if util.find_spec("huggingface_hub") is None:
        return Finding(topic, "missing", f"{name}: huggingface_hub is not installed", "pip install huggingface_hub")
    from huggingface_hub import try_to_load_from_cache

    for weights in files:
        cached = try_to_load_from_cache(name, weights, revision=revision)
        if isinstance(cached, str):
            snapshot = Path(cached).parents[len(Path(weights).parts) - 1]
            return Finding(topic, "ok", f"{name}: cached, commit {snapshot.name[:12]}")
    return fetched(topic, False, f"{name}: not cached", f"{group}.path=DIR")


def fetched(topic: str, is_here: bool, text: str, offline: str) -> Finding:
    """A finding about something that is downloaded when it is first used."""
    return (
        Finding(topic, "ok", text) if is_here else Finding(topic, "missing", text, f"fetched when first used; offline: {offline}")
    )
