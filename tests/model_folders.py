"""Copies of model folders in which something is not as it was: what users bring."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from safetensors.torch import load_file, save_file


def copy_with(source: Path, target: Path, change: Callable[[dict], dict]) -> Path:
    """A copy of a model's folder with other weights."""
    shutil.copytree(source, target)
    file = target / "model.safetensors"
    write_weights(file, change(load_file(file)))
    return target


def write_weights(file: Path, weights: dict) -> None:
    save_file({name: weight.contiguous() for name, weight in weights.items()}, file, metadata={"format": "pt"})


def with_prefix(prefix: str) -> Callable[[dict], dict]:
    """A change: ``prefix`` in front of all names."""
    return lambda weights: {prefix + name: weight for name, weight in weights.items()}


def without(start: str) -> Callable[[dict], dict]:
    """A change: nothing whose name begins with ``start``."""
    return lambda weights: {name: weight for name, weight in weights.items() if not name.startswith(start)}


def with_nan(name: str) -> Callable[[dict], dict]:
    """A change: one number of one weight is NaN."""

    def change(weights):
        weights[name].view(-1)[-1] = float("nan")
        return weights

    return change


def remove_tokenizer(folder: Path) -> None:
    """Leave nothing of a tokenizer."""
    for pattern in ("*token*", "vocab*", "merges.txt"):
        for file in folder.glob(pattern):
            file.unlink()


def change_config(folder: Path, **values) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))
