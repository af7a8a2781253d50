"""What identifies a run: the settings that can change a result."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from enum import Enum
from typing import Any

from magic_cli.decoding.method import DecodingMethod
from magic_cli.runs.choices import method_name


def as_plain(settings: Any) -> dict[str, Any]:
    """Settings as plain values, for YAML and JSON. ``decoding.method`` is the method's name, ``guides`` holds the active ones."""
    plain = _plain(asdict(settings)) | {"decoding": _plain_method(settings.decoding)}
    if "guides" in plain:
        plain["guides"] = {name: plain["guides"][name] for name in settings.chosen_guides}
    return plain


def _plain_method(method: DecodingMethod) -> dict[str, Any]:
    """A method's settings with its name, also for a method inside another one (as in rerank)."""
    inner = {name: _plain_method(value) for name, value in vars(method).items() if isinstance(value, DecodingMethod)}
    return {"method": method_name(method), **_plain(asdict(method)), **inner}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.value if isinstance(value, Enum) else value


# Settings that cannot change a result, so that a run can continue after they change.
_WITHOUT_EFFECT = {
    "run": (
        "dir",
        "batch_size",
        "device",
        "threads",
        "trace",
        "lazy",
        "step_memory",
        "compile",
        "workers",
        "cache_images",
        "image_cache",
        "repeats",
        "objective",
        "devices",
        "engine",
        "address",
        "actors",
        "report",
        "shard",
        "parquet",
    ),  # fmt: skip
    "language_model": ("recommended",),  # these values already stand in the settings that use them
    "image_text_model": ("recommended",),
    "interleaved_model": ("recommended",),
    "page": ("kind", "items"),
}


def settings_that_matter(settings: Any) -> dict[str, Any]:
    """The settings that can change results; they identify a run."""
    plain = as_plain(settings)
    for group in _WITHOUT_EFFECT.keys() & plain.keys():
        for name in _WITHOUT_EFFECT[group]:
            del plain[group][name]
        if not plain[group]:
            del plain[group]
    if not settings.is_sampled:
        del plain["run"]["seed"], plain["run"]["repeat"]
    if not settings.decoding.needs_image:
        del plain["image_text_model"]
    if not settings.decoding.needs_language_model:
        del plain["language_model"], plain["prompt"]
    for name in settings.decoding.without_effect:
        del plain["decoding"][name]
    if settings.rules.is_default:  # keeps the hashes of runs from before there were rules
        del plain["rules"]
    elif settings.rules.repetition_in_prompt:  # keeps hashes, too
        del plain["rules"]["repetition_in_prompt"]
    plain["decoding"].pop("guides", None)  # the key `guides` holds the active ones
    for name, guide in settings.chosen_guides.items():
        for setting in guide.without_effect:
            del plain["guides"][name][setting]
    if not plain.get("guides"):  # keeps hashes, too
        plain.pop("guides", None)
    return plain


def settings_hash(settings: Any) -> str:
    """Eight hexadecimal digits that stand for all settings that can change results."""
    text = json.dumps(settings_that_matter(settings), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
