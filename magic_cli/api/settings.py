"""Turns arguments into settings, with the same names, values, checks and messages as on the command line."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from magic_cli.configuration.files import groups
from magic_cli.configuration.overrides import override
from magic_cli.errors import SettingsError, nearest
from magic_cli.evaluation.settings import EvaluateSettings
from magic_cli.runs.settings import CaptionSettings, StorySettings

_CLASSES = {"caption": CaptionSettings, "story": StorySettings, "evaluate": EvaluateSettings}
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_OF_LOADING = ("language_model", "image_text_model", "run.device", "run.dtype", "run.threads", "run.compile")
_OF_RUNS = (
    "run.dir", "run.repeats", "run.objective", "run.workers", "run.report", "run.parquet",
    "run.devices", "run.engine", "run.actors", "run.address", "dataset",
)  # fmt: skip
_OF_FILES = ("systems", "references", "compare", "output", "format")
_OF_IMAGES = ("dataset.apply_exif_orientation", "dataset.skip_greyscale")
_OUTSIDE_DECODING = ("prompt",)


def settings_for(command: str, overrides: Sequence[str]) -> Any:
    """The checked settings of ``caption``, ``story`` or ``evaluate``.

    Raises:
        MagicError: A setting is wrong, as on the command line.
    """
    return copy.deepcopy(_composed(command, tuple(overrides)))


@lru_cache(maxsize=64)
def _composed(command: str, overrides: tuple[str, ...]) -> Any:
    from magic_cli.configuration.points import settings_from  # imports Hydra

    return settings_from(command, _CLASSES[command], overrides)


def loading_overrides(language_model: Any, image_text_model: Any, settings: Mapping[str, Any]) -> list[str]:
    """The arguments of ``load`` as overrides.

    Raises:
        SettingsError: A model is neither a known name, nor a file, a folder or a hub id.
    """
    return [
        *_language_model(language_model),
        *_image_text_model(image_text_model),
        *(override(name, value) for name, value in _checked(settings, _OF_RUNS).items()),
    ]


def writing_overrides(method: str | None, seed: int | None, trace: bool, settings: Mapping[str, Any]) -> list[str]:
    """The arguments for a text as overrides.

    Args:
        method: An option of ``decoding``; None: the default.
        seed: ``run.seed``; None: the default.
        trace: ``run.trace``.
        settings: Settings of the method by their own names, ``prompt``, ``base``, and ``settings`` with others by full name.
    """
    own = dict(settings)
    full = _checked(own.pop("settings", None) or {}, (*_OF_LOADING, *_OF_RUNS))
    found = [] if method is None else [_choice("decoding", method)]
    if isinstance(own.get("base"), str):
        found.append(_choice("decoding@decoding.base", own.pop("base")))
    if seed is not None:
        found.append(override("run.seed", seed))
    if trace:
        found.append("run.trace=true")
    own_names = {name: name if name in _OUTSIDE_DECODING else f"decoding.{name}" for name in own}
    return [
        *found,
        *(override(own_names[name], value) for name, value in own.items()),
        *(override(name, value) for name, value in full.items()),
    ]


def scoring_overrides(metrics: str | Sequence[str] | None, settings: Mapping[str, Any]) -> list[str]:
    """The arguments for scores as overrides.

    Raises:
        SettingsError: A setting is an argument here, or belongs to the command line.
    """
    if not isinstance(metrics, str | Sequence | None):
        raise SettingsError(f"metrics must be names such as 'bleu' or ['bleu', 'cider'], got {metrics!r}")
    names = metrics.split(",") if isinstance(metrics, str) else metrics
    chosen = [] if names is None else [override("metrics.names", list(names))]
    return [*chosen, *(override(name, value) for name, value in _checked(settings, _OF_FILES).items())]


def _checked(settings: Mapping[str, Any], refused: Sequence[str]) -> Mapping[str, Any]:
    """Check settings; returns them unchanged.

    Raises:
        SettingsError: A setting has its own argument, or has no meaning here.
    """
    if not isinstance(settings, Mapping):
        raise SettingsError(f"settings must be a dict of full names, as in {{'decoding.beta': 1.0}}, got {settings!r}")
    for name in settings:
        if not isinstance(name, str):
            raise SettingsError(f"settings: names must be texts, as in {{'decoding.beta': 1.0}}, got {name!r}")
        group = next((one for one in refused if name == one or f"{name}.".startswith(f"{one}.")), None)
        if group is None or name in _OF_IMAGES:
            continue
        if group in _OF_LOADING:
            raise SettingsError(f"{name}: models and what they run on are chosen once, by magic_cli.load(...)")
        raise SettingsError(f"{name}: belongs to the command line, which writes files; from Python, leave it out")
    return settings


def _choice(group: str, option: Any) -> str:
    if not isinstance(option, str):
        raise SettingsError(f"{group} must be the name of one of its options, got {option!r}")
    return override(group, option)


def _options(group: str) -> tuple[str, ...]:
    return next(one.options for one in groups("caption") if one.name == group)


def _language_model(given: Any) -> list[str]:
    if given in _options("language_model"):
        return [override("language_model", given)]
    if _is_place(given):
        return [override("language_model.path", given)]
    if _HUB_ID.fullmatch(str(given)):
        return ["language_model=gpt2", override("language_model.name", given)]
    raise _unknown("language_model", given)


def _image_text_model(given: Any) -> list[str]:
    if given in _options("image_text_model"):
        return [override("image_text_model", given)]
    if _is_place(given):
        from magic_cli.models.kinds import image_text_option

        option = image_text_option(Path(os.path.expanduser(given)))
        return [f"image_text_model={option}", override("image_text_model.path", given)]
    if _HUB_ID.fullmatch(str(given)):
        kind = "siglip" if "siglip" in str(given).lower() else "clip_vit_b32"
        return [f"image_text_model={kind}", override("image_text_model.name", given)]
    raise _unknown("image_text_model", given)


def _is_place(given: Any) -> bool:
    """Whether the value is a file or folder: one that exists, or a path by its form."""
    return isinstance(given, os.PathLike) or (
        isinstance(given, str) and (os.path.exists(os.path.expanduser(given)) or given.startswith(("/", "./", "../", "~")))
    )


def _unknown(group: str, given: Any) -> SettingsError:
    hint = nearest(str(given), _options(group))
    return SettingsError(
        f"{group}={given} is unknown; {hint}; or give a folder, a file, or a hub id such as openai/clip-vit-base-patch32"
    )
