"""Compares what a model's files hold with what the model needs. Libraries fill missing weights at random, which would go
unnoticed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from magic_cli.data.json_text import parse_json
from magic_cli.models.faults import Fault, some

_WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""Parts of names that torch.compile, FSDP and activation checkpoints add, wherever they wrap a module."""

_KNOWN_PREFIX = re.compile(rf"((model|module|state_dict|_forward_module|{'|'.join(_WRAPPERS)})\.)*")
"""In front of all names: of Lightning, DDP and DeepSpeed, alone or inside each other."""

_MADE_ANEW = re.compile(r"(^|\.)(position_ids|inv_freq|original_inv_freq|_extra_state)$")
"""Buffers that a model makes from its settings, whether a file holds them or not."""

_STORED = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""Where transformers looks for weights, in this order."""


_TELLING = {"output_loading_info": True, "ignore_mismatched_sizes": True}
"""Options of ``from_pretrained`` by which it tells what did not fit, instead of raising."""


@dataclass(frozen=True)
class Fit:
    """How the weights of a file fitted a model that got all that it needs."""

    stripped: str = ""
    """What was taken off the names of the file's weights."""
    left_over: tuple[str, ...] = ()
    """Weights of the file for which the model has no place."""
    lacking: tuple[str, ...] = ()
    """Weights that the file may lack, and does: they are random."""

    def facts(self) -> dict[str, Any]:
        """For the manifest: anything unusual."""
        facts: dict[str, Any] = {"stripped_prefix": self.stripped} if self.stripped else {}
        return facts | ({"left_over_weights": list(self.left_over)} if self.left_over else {})

    def notes(self) -> list[str]:
        """The same for the user."""
        notes = []
        if self.stripped:
            notes.append(f"{self.stripped!r} was taken off the names of its weights")
        if self.left_over:
            notes.append(f"weights in its files for which the model has no place are not used: {some(self.left_over)}")
        return notes


def read_pretrained(
    model_class: Any, where: Mapping[str, Any], *, is_body: bool = False, optional: str = "", **options: Any
) -> tuple[Any, Fit, list[Fault]]:
    """A model by ``from_pretrained``, and whether its files hold all that it needs.

    If the names only have a prefix that training tools put in front, it is removed.

    Args:
        model_class: A model class of transformers, or one of its ``Auto`` classes.
        where: ``pretrained_model_name_or_path``, a local folder, and ``gguf_file``, if it is one.
        is_body: Whether it is a body without a head; a head in the files is then unused on purpose.
        optional: Regular expression of names that may be missing.
        options: For ``from_pretrained``.
    """
    model, loading = model_class.from_pretrained(**where, **_TELLING, **options)
    missing, prefix, stripped = _missing(model, loading["missing_keys"]), "", ""
    if missing and "gguf_file" not in where:
        stored = _stored_weights(Path(where["pretrained_model_name_or_path"]))
        prefix, weights = strip_prefix(stored, model.state_dict(), model.base_model_prefix)
        if is_known_prefix(prefix):
            generation = {"generation_config": model.generation_config} if model.can_generate() else {}
            # not by the library's own renaming, which would put the prefix back where the model is saved
            given = {"config": model.config, "state_dict": weights, **generation}
            model, loading = type(model).from_pretrained(None, **given, **_TELLING, **options)
            missing, prefix, stripped = _missing(model, loading["missing_keys"]), "", prefix
    lacking = [name for name in missing if optional and re.search(optional, name)]
    left_over = sorted(name for name in loading["unexpected_keys"] if not (is_body and _is_of_head(name, model)))
    mismatched = sorted((name, tuple(found), tuple(wanted)) for name, found, wanted in loading["mismatched_keys"])
    missing = [name for name in missing if name not in lacking]
    faults = [*_missing_faults(model, missing, prefix), *_mismatched_faults(mismatched), *number_faults(model)]
    return model, Fit(stripped, tuple(left_over), tuple(lacking)), faults


def strip_prefix(weights: Mapping[str, Any], needed: Collection[str], base: str = "") -> tuple[str, dict[str, Tensor]]:
    """The prefix without which most names are names that a model needs, and the weights without it.

    Args:
        weights: As a file holds them.
        needed: Names of the model's weights.
        base: Prefix that the library takes off, or puts before them, by itself.

    Returns:
        An empty prefix if the names fit as they are, or none would make them fit.

    >>> strip_prefix({"module._orig_mod.a.w": 1, "loss": 2}, ["a.w", "b.w"]) == ("module._orig_mod.", {"a.w": 1, "loss": 2})
    True
    >>> strip_prefix({"a._orig_mod.w": 1}, ["a.w"])
    ('_orig_mod.', {'a.w': 1})
    """
    known = {*needed, *(name.removeprefix(f"{base}.") for name in needed)}
    bare = {name: ".".join(part for part in name.split(".") if part not in _WRAPPERS) for name in weights}
    votes = Counter(place for name in bare.values() if (place := _place(name, known)) is not None)
    prefix = votes.most_common(1)[0][0] if votes else ""
    renamed = {name: new.removeprefix(prefix) for name, new in bare.items()}
    changed = next(((name, new) for name, new in renamed.items() if new != name and _place(new, known) == ""), None)
    if changed is None:
        return "", dict(weights)
    name, new = changed
    inside = "".join(f"{part}." for part in _WRAPPERS if part in name.split("."))
    whole = name.removesuffix(new) if name.endswith(new) else prefix + inside
    names = sorted(weights, key=lambda name: renamed[name] != name)  # if two get the same name, the one with the prefix counts
    return whole, {renamed[name]: weights[name] for name in names}


def is_known_prefix(prefix: str) -> bool:
    """Whether training tools put a prefix in front of names, which may be taken off.

    >>> is_known_prefix("module._orig_mod."), is_known_prefix("teacher."), is_known_prefix("")
    (True, False, False)
    """
    return bool(prefix) and _KNOWN_PREFIX.fullmatch(prefix) is not None


def _place(name: str, known: Collection[str]) -> str | None:
    """The part of a name in front of its longest known ending; None if no ending is known.

    >>> _place("module.h.0.w", {"h.0.w"})
    'module.'
    """
    starts = [0, *(found.end() for found in re.finditer(r"\.", name))]
    return next((name[:start] for start in starts if name[start:] in known), None)


def number_faults(module: nn.Module) -> list[Fault]:
    """Weights that are NaN or infinite, and buffers that are NaN (a mask may be infinite)."""
    faulty = [name for name, weight in module.named_parameters() if not _is_finite(weight)]
    faulty += [name for name, buffer in module.named_buffers() if _is_checked(buffer) and bool(buffer.isnan().any())]
    if not faulty:
        return []
    narrow = any(weight.dtype == torch.float16 for weight in module.parameters())
    remedy = "load it with run.dtype=float32, whose range is wider than float16's, or " if narrow else ""
    return [Fault("numbers", f"NaN or infinity in {some(faulty)}", f"{remedy}save it anew from a checkpoint that has numbers")]


def _is_finite(weight: Tensor) -> bool:
    """Whether it is finite. A sum takes one pass over memory; if the sum itself overflows, that proves nothing."""
    if not _is_checked(weight):
        return True
    total = weight.detach().sum(dtype=torch.promote_types(weight.dtype, torch.float32))
    return bool(total.isfinite()) or bool(weight.isfinite().all())


def _is_checked(weight: Tensor) -> bool:
    """Whether torch can tell; it cannot for quantised weights."""
    return weight.dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64) and not weight.is_meta


def strict_faults(error: RuntimeError) -> list[Fault]:
    """What torch's strict ``load_state_dict`` found wrong with a file; empty if the error is a different one."""
    text = str(error)
    if "Error(s) in loading state_dict" not in text:
        return []
    missing, unexpected = (_quoted(text, f"{kind} key(s) in state_dict: ") for kind in ("Missing", "Unexpected"))
    mismatched = re.findall(r"size mismatch for (\S+): .*?torch\.Size\(\[([\d, ]*)\]\).*?torch\.Size\(\[([\d, ]*)\]\)", text)
    faults = _mismatched_faults([(name, f"({found})", f"({wanted})") for name, found, wanted in mismatched])
    if missing:
        prefix, _ = strip_prefix(dict.fromkeys(unexpected), missing)
        return [missing_fault(missing, "of its weights", prefix), *faults]
    if unexpected:
        text = f"its files hold weights for which the model has no place: {some(unexpected)}"
        return [*faults, Fault("weights", text, "save it without them")]
    return faults


def _quoted(text: str, start: str) -> list[str]:
    """The quoted names behind ``start``, up to the end of the line."""
    _, found, rest = text.partition(start)
    return re.findall(r'"([^"]+)"', rest.split("\n")[0]) if found else []


def _missing(model: nn.Module, names: Collection[str]) -> list[str]:
    """The weights that are truly missing, in the model's order. Masks and positions do not count: the model makes them itself."""
    masks = {name for name, buffer in model.named_buffers() if not buffer.is_floating_point()}
    return [name for name in model.state_dict() if name in names and name not in masks and not _MADE_ANEW.search(name)]


def _missing_faults(model: nn.Module, missing: Sequence[str], prefix: str) -> list[Fault]:
    if not missing:
        return []
    return [missing_fault(missing, f"of the {len(model.state_dict())} weights of {type(model).__name__}", prefix)]


def missing_fault(missing: Sequence[str], of: str, prefix: str = "") -> Fault:
    """Weights that a file does not have, and what would mend it.

    Args:
        missing: Their names.
        of: What kind of weights they are, in words.
        prefix: In front of the names in the file; without it they would fit.
    """
    if prefix:
        remedy = f"the names in its files begin with {prefix!r}: save it with names without that"
    elif all(name.rpartition(".")[0].endswith(("lm_head", "embed_out")) for name in missing):
        remedy = 'save it with its output head, or set "tie_word_embeddings": true in its config.json if the head shares the embeddings'
    else:
        remedy = "name a complete model, saved whole"
    return Fault("weights", f"{len(missing)} {of} are not in its files: {some(missing)}", remedy)


def _mismatched_faults(mismatched: Sequence[tuple[str, Any, Any]]) -> list[Fault]:
    if not mismatched:
        return []
    (name, found, wanted), *others = mismatched
    more = f" (and {len(others)} more)" if others else ""
    text = f"{name} is {_shape(found)} in its files and {_shape(wanted)} by its config.json{more}"
    return [Fault("weights", text, "put the config.json that belongs to these weights beside them")]


def _shape(sizes: Any) -> str:
    return sizes if isinstance(sizes, str) else str(tuple(sizes))


def _is_of_head(name: str, body: nn.Module) -> bool:
    """Whether a weight belongs to no part of a body."""
    parts = {needed.partition(".")[0] for needed in body.state_dict()}
    return name.removeprefix(f"{body.base_model_prefix}.").partition(".")[0] not in parts


def _stored_weights(folder: Path) -> dict[str, Tensor]:
    """All weights of a model's folder under their names in its files; those of nested dicts with the dict's name in front."""
    from safetensors.torch import load_file

    place = next((folder / name for name in _STORED if (folder / name).is_file()), None)
    if place is None:
        return {}
    files = [place]
    if place.suffix == ".json":
        files = [folder / name for name in sorted(set(parse_json(place.read_bytes())["weight_map"].values()))]
    weights: dict[str, Tensor] = {}
    for file in files:
        is_plain = file.suffix == ".safetensors"
        weights |= load_file(file) if is_plain else flat(torch.load(file, map_location="cpu", weights_only=True))
    return weights


def flat(stored: Mapping[str, Any]) -> dict[str, Tensor]:
    """Weights of a checkpoint that may hold them in dicts, under joined names; anything else is left out."""
    weights: dict[str, Tensor] = {}
    for name, value in stored.items():
        if isinstance(value, Tensor):
            weights[name] = value
        elif isinstance(value, Mapping):
            weights |= {f"{name}.{inner}": weight for inner, weight in flat(value).items()}
    return weights
