"""The authors' checkpoints as folders of ``magic train-vokens``. Only tensors are read, by name; no code is run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from magic_cli.errors import MagicError
from magic_cli.interleaved.settings import AdapterKind, AdapterSettings, MapperSettings
from magic_cli.interleaved.trained import TrainedVokens
from magic_cli.models.faults import some
from magic_cli.models.weights import flat

HEADS, ALPHA = 8, 16
"""Attention heads of the mapper and weight of the low-rank updates in the released code; the tensors do not contain them."""

_SAVED = r"(modules_to_save\.(default\.)?)?weight"
_PATTERNS = {
    r"(model\.)?llama_model\.(.*\.)?embed_tokens\." + _SAVED: "rows.input",
    r"(model\.)?llama_model\.(.*\.)?lm_head\." + _SAVED: "rows.output",
    r"fc\.(?P<rest>\d+\.(weight|bias))": "mapper.fc.{rest}",
    r"t2i_decoder_prompt": "mapper.queries",
    r"llm_to_t2i_mapping\.(?P<rest>.+)": "mapper.transformer.{rest}",
    r"(model\.)?llama_model\.base_model\.model\.(?P<layer>model\.layers\.\d+\.\w+\.\w+)\.lora_(?P<side>[AB])\.(default\.)?weight": (
        "adapter.base_model.model.{layer}.lora_{side}.default.weight"
    ),
}
"""Names in the checkpoints, and names in vokens.safetensors."""


def convert_checkpoints(files: Iterable[Path], num_vokens: int = 8) -> TrainedVokens:
    """The weights that the authors trained. A later checkpoint wins (that of stage two holds only what stage two trained).

    Args:
        files: Checkpoints, stage one first.
        num_vokens: The number of vokens in training.

    Raises:
        MagicError: A file holds more than tensors, or a tensor is missing.
    """
    found: dict[str, Tensor] = {}
    for file in files:
        weights = _renamed(read_checkpoint(file))
        if not weights:
            raise MagicError(f"{file}: holds none of MiniGPT-5's tensors; name a checkpoint of its stage one or two")
        found |= weights
    needed = {"rows.input", "rows.output", "mapper.fc.0.weight", "mapper.queries", "mapper.transformer.encoder.norm.weight"}
    if missing := sorted(needed - found.keys()):
        raise MagicError(f"the checkpoints lack {some(missing)}; give the checkpoint of stage one, too, before that of stage two")
    for name in ("rows.input", "rows.output"):
        found[name] = found[name][-(num_vokens + 1) :].clone()  # the rows before belong to the language model
    adapter = _adapter(found)
    stage = "mls" if adapter.kind is AdapterKind.lora else "uas"
    return TrainedVokens(num_vokens, _shape(found), adapter, stage, found)


def read_checkpoint(file: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint, under joined names; no code from the file is run.

    Raises:
        MagicError: It cannot be read, or holds more than tensors.
    """
    try:
        stored: Any = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise MagicError(f"{file}: cannot be read ({error.strerror})") from error
    except Exception as error:  # torch raises many kinds of errors here
        raise MagicError(
            f"{file}: holds more than weights, or is damaged ({type(error).__name__}); if you trust it, save torch.load(...)['state_dict'] to a new file and give that"
        ) from error
    inner = stored.get("state_dict", stored.get("model", stored)) if isinstance(stored, Mapping) else {}
    return flat(inner)


def convert_projection(file: Path) -> dict[str, Tensor]:
    """MiniGPT-4's projection from the Q-Former to the language model, as ``weight`` and ``bias``.

    Raises:
        MagicError: The checkpoint has none.
    """
    weights = read_checkpoint(file)
    found = {name.rpartition("llama_proj.")[2]: weight.float() for name, weight in weights.items() if "llama_proj." in name}
    if set(found) != {"weight", "bias"}:
        raise MagicError(f"{file}: has no llama_proj.weight and llama_proj.bias; name MiniGPT-4's checkpoint")
    return found


def _renamed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    renamed = {}
    for name, weight in weights.items():
        for pattern, place in _PATTERNS.items():
            if match := re.fullmatch(pattern, name):
                renamed[place.format(**match.groupdict())] = weight.float()
    return renamed


def _shape(found: Mapping[str, Tensor]) -> MapperSettings:
    _, queries, width = found["mapper.queries"].shape
    layers = {name.split(".")[4] for name in found if name.startswith("mapper.transformer.encoder.layers.")}
    inner = found["mapper.transformer.encoder.layers.0.linear1.weight"].shape[0]
    return MapperSettings(layers=len(layers), heads=HEADS, feed_forward=inner // width, queries=queries)


def _adapter(found: Mapping[str, Tensor]) -> AdapterSettings:
    updates = {name: weight for name, weight in found.items() if name.startswith("adapter.") and ".lora_A." in name}
    if not updates:
        return AdapterSettings(kind=AdapterKind.none)
    targets = sorted({name.split(".lora_A.")[0].rpartition(".")[2] for name in updates})
    return AdapterSettings(kind=AdapterKind.lora, r=next(iter(updates.values())).shape[0], alpha=ALPHA, targets=targets)
