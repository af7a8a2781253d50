"""Reads weights from folders: only safetensors, and only if they are complete, of the right shapes, and finite."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from magic_cli.data.json_text import parse_json
from magic_cli.errors import MagicError, install_extra
from magic_cli.interleaved.settings import TINY
from magic_cli.models.faults import Fault, ModelFault, refuse, some
from magic_cli.models.settings import ModelSource
from magic_cli.models.sources import fetch
from magic_cli.models.weights import missing_fault, number_faults, strict_faults

TINY_FOLDER = Path(__file__).resolve().parent / "tiny"


def part_folder(source: ModelSource, part: str) -> Path:
    """The folder of a part: one that the user names, one that ships with magic, or one from the hub.

    Args:
        source: The user's choice.
        part: Its name among the shipped parts.

    Raises:
        MagicError: The folder cannot be found or loaded.
    """
    if source.path:
        return Path(source.source)
    if source.name == TINY:
        return TINY_FOLDER / part
    assert source.name is not None  # the settings refuse a source that has neither
    return fetch(source.name, revision=source.revision, setting=source.group, instead="use interleaved_model=tiny")


def read_weights(place: Path, parts: tuple[str, ...] = ("",)) -> dict[str, Tensor]:
    """The weights in a safetensors file, or in all such files of a folder.

    Args:
        place: File or folder.
        parts: Only weights with one of these prefixes are read. A ``model.`` before every name is removed.

    Raises:
        MagicError: There are none.
    """
    from safetensors import safe_open

    folder, names = (place.parent, [place.name]) if place.is_file() else (place, ["model.safetensors"])
    if (index := place / "model.safetensors.index.json").is_file():
        names = sorted(set(parse_json(index.read_bytes())["weight_map"].values()))
    if not (folder / names[0]).is_file():
        raise MagicError(
            f"no model.safetensors in {place}; other formats are not read, since they may run code: save it as safetensors"
        )
    weights: dict[str, Tensor] = {}
    for name in names:
        with safe_open(folder / name, framework="pt") as file:
            wanted = {
                key: key.removeprefix("model.") for key in list(file.keys()) if key.removeprefix("model.").startswith(parts)
            }
            weights |= {bare: file.get_tensor(key) for key, bare in wanted.items()}
    return weights


def require_fit(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load a complete set of weights into a module.

    Raises:
        ModelFault: Weights are missing, unknown, of another shape, or not finite.
    """
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        faults = strict_faults(error)
        if not faults:
            raise
        raise ModelFault(faults) from None
    refuse(number_faults(module))


def require_names(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    """Refuse weights with names or shapes other than ``own``.

    Raises:
        ModelFault: Names or shapes differ.
    """
    if missing := [name for name in own if name not in given]:
        raise ModelFault([missing_fault(missing, "weights")])
    if left := [name for name in given if name not in own]:
        raise ModelFault(
            [Fault("weights", f"the model has no place for {some(left)}", "name the weights of the same kind of model")]
        )
    for name, weight in own.items():
        if weight.shape != given[name].shape:
            text = f"{name} is {tuple(given[name].shape)} and not {tuple(weight.shape)}"
            raise ModelFault([Fault("weights", text, "name the weights of the same kind of model")])


def read_diffusers(model_class: Any, folder: Path, dtype: torch.dtype) -> Any:
    """Read a frozen model of diffusers from safetensors.

    Raises:
        MagicError: The folder does not exist, or its weights are missing, of another shape, or not finite.
    """
    if not (folder / "config.json").is_file():
        raise MagicError(f"has no {folder.name}/config.json; name a Stable Diffusion folder of diffusers")
    model, loading = model_class.from_pretrained(
        folder, torch_dtype=dtype, use_safetensors=True, output_loading_info=True, low_cpu_mem_usage=False, local_files_only=True
    )
    if missing := sorted(loading["missing_keys"]):
        raise ModelFault([missing_fault(missing, f"of the weights of {folder.name}")])
    refuse(number_faults(model))
    return model.eval().requires_grad_(False)


@contextmanager
def naming(source: ModelSource) -> Iterator[None]:
    """Turn any error of a library over the files of a part into one line that names the setting."""
    place = f"{source.group}.path={source.path}" if source.path else f"{source.group}.name={source.name}"
    try:
        yield
    except ModelFault as fault:
        raise fault.at(place) from None
    except MagicError as error:
        text = str(error)
        raise (error if text.startswith(source.group) else MagicError(f"{place}: {text}")) from None
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # each library and format raises its own kinds of errors
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = f"{type(error).__name__}: {' '.join(lines)[:160]}"
        raise MagicError(
            f"{place}: cannot be loaded ({reason}); name a complete model of this kind, saved as safetensors"
        ) from error


def require_extra(load: Callable[[], Any]) -> None:
    """Load something that needs the optional libraries; if they are missing, say what to install.

    Raises:
        MagicError: They are missing.
    """
    try:
        load()
    except ImportError as error:
        raise MagicError(f"text and images together need {error.name or 'diffusers'}; {install_extra('interleaved')}") from error
