"""A visitor's request, as settings of ``magic caption`` and as a command line that gives the same result."""

from __future__ import annotations

import copy
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from magic_cli.configuration.live_settings import options
from magic_cli.configuration.overrides import override
from magic_cli.data.paths import expanded
from magic_cli.models.kinds import image_text_option
from magic_cli.models.settings import MachineSettings
from magic_cli.runs.settings import CaptionSettings

SLIDERS = ("alpha", "beta", "k")
_IMAGE = ["dataset=files", override("dataset.paths", ["photo"])]
"""Stands for the photo while settings are checked."""


@dataclass(frozen=True)
class Models:
    """The language model, the image-text model, and the machine.

    Attributes:
        language_model, image_text_model: An option of the settings group, or a folder or file.
        machine: What the models run on.
    """

    language_model: str
    image_text_model: str
    machine: MachineSettings = field(default_factory=MachineSettings)

    def words(self) -> list[tuple[str, Any]]:
        """Names and values of the settings.

        Raises:
            MagicError: The config.json of an image-text model cannot be read.
        """
        words: list[tuple[str, Any]] = []
        for group, place in (("language_model", self.language_model), ("image_text_model", self.image_text_model)):
            if place in options(group):
                words.append((group, place))
                continue
            if group == "image_text_model":
                words.append((group, image_text_option(expanded(place, "image_text_model.path"))))
            words.append((f"{group}.path", place))
        usual = MachineSettings()
        machine = {name: getattr(self.machine, name) for name in ("device", "dtype", "threads")}
        return words + [(f"run.{name}", value) for name, value in machine.items() if value != getattr(usual, name)]


@dataclass(frozen=True)
class Wish:
    """One caption by one method.

    Attributes:
        models: The models.
        method: An option of ``decoding``.
        sliders: Values of ``SLIDERS``; only the settings that the method has are used.
        seed: Seed for sampled methods.
    """

    models: Models
    method: str
    sliders: tuple[tuple[str, float], ...]
    seed: int = 0

    def words(self) -> list[tuple[str, Any]]:
        """Names and values of the settings, apart from the photo.

        Raises:
            MagicError: They do not fit each other.
        """
        decoding = usual_settings(self.models, self.method).decoding
        words = [*self.models.words(), ("decoding", self.method)]
        if hasattr(decoding, "alpha"):
            words += [(f"decoding.{name}", value) for name, value in self.sliders if hasattr(decoding, name)]
        words += [("run.seed", self.seed)] if decoding.is_sampled else []
        return words + ([("run.trace", True)] if decoding.needs_language_model else [])

    def settings(self, photo: Path, folder: Path) -> CaptionSettings:
        """The settings of the same run by ``magic caption``.

        Args:
            photo: The image file.
            folder: The run folder.

        Raises:
            MagicError: A setting is wrong.
        """
        words = [("dataset.paths", [str(photo)]), *self.words(), ("run.dir", str(folder)), ("run.workers", 0)]
        return _compose(("dataset=files", *(override(name, value) for name, value in words)))

    def command(self, photo: str) -> str:
        """The command line that gives the same caption and trace, typed in the folder of the photo."""
        image = ["--image", photo] if not photo.startswith("-") else [f"--image={photo}"]
        return shlex.join(["magic", "caption", *image, *(f"{name}={_plain(value)}" for name, value in self.words())])


def usual_settings(models: Models, method: str) -> CaptionSettings:
    """The default settings of a method with these models.

    Raises:
        MagicError: They do not fit each other.
    """
    words = [*models.words(), ("decoding", method)]
    return _compose((*_IMAGE, *(override(name, value) for name, value in words)))


def _compose(overrides: Sequence[str]) -> CaptionSettings:
    return copy.deepcopy(_composed(overrides))  # because a run may change its settings


@lru_cache(maxsize=64)
def _composed(overrides: Sequence[str]) -> CaptionSettings:
    from magic_cli.configuration.points import settings_from  # imports Hydra

    return settings_from("caption", CaptionSettings, list(overrides))


def _plain(value: Any) -> str:
    """A value as the user types it."""
    value = getattr(value, "value", value)
    return str(value).lower() if isinstance(value, bool) else str(value)
