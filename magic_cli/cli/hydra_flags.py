"""Hydra's own flags: which of them magic takes, under which names, and what may stand together."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from magic_cli.errors import SettingsError

_NAMES = {"--multirun": "-m", "-c": "--cfg", "-p": "--package", "-cd": "--config-dir", "-i": "--info"}
"""Other names of flags, with the name that is passed on."""
_SWITCHES = ("-m", "--resolve", "--hydra-help")
_CHOICES = {
    "--cfg": ("job", "hydra", "all"),
    "--info": ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath"),
    "--package": (),
    "--config-dir": (),
}
"""Flags with a value, and what it may be; empty: any text."""
_INSTEAD_OF_A_RUN = ("-m", "--cfg", "--info", "--hydra-help")
_LOOKS = _INSTEAD_OF_A_RUN[1:]
_ABOUT_CFG = ("--resolve", "--package")
_REFUSED = {"--experimental-rerun": "it unpickles files; start the same command again instead"}


def asks_for_sweep(words: Sequence[str]) -> bool:
    """Whether a command line, or flags for Hydra, ask for a sweep."""
    return any(_NAMES.get(word, word) == "-m" for word in words)


def only_looks(flags: Sequence[str]) -> bool:
    """Whether flags for Hydra show something, and nothing runs."""
    return any(flag in flags for flag in _LOOKS)


def value_of(name: str, flags: Sequence[str]) -> str | None:
    """The value of a flag among flags for Hydra; None: it is not there."""
    return flags[flags.index(name) + 1] if name in flags else None


class HydraFlags:
    """Hydra's flags among the words of a command line."""

    def __init__(self) -> None:
        self._values: dict[str, str | None] = {}

    def take(self, word: str, queue: list[str]) -> bool:
        """Take a word if it is one of Hydra's flags, and its value from the words after it.

        Raises:
            SettingsError: The flag is refused, was given before, or cannot have this value.
        """
        typed, has_value, value = word.partition("=")
        name = _NAMES.get(typed, typed)
        if name in _REFUSED:
            raise SettingsError(f"{name} is refused: {_REFUSED[name]}")
        if name in _SWITCHES:
            if has_value:
                raise SettingsError(f"{typed} takes no value, got {value!r}")
            self._values[name] = None
        elif name in _CHOICES:
            if name in self._values:
                raise SettingsError(f"{typed} was given twice; give it once")
            self._values[name] = _checked(typed, _CHOICES[name], value if has_value else queue.pop(0) if queue else None)
        return name in self._values

    def words(self) -> list[str]:
        """The words for Hydra, which must come before overrides.

        Raises:
            SettingsError: Flags that cannot stand together, or one without the flag that it belongs to.
        """
        instead = [name for name in self._values if name in _INSTEAD_OF_A_RUN]
        if len(instead) > 1:
            raise SettingsError(
                f"{' and '.join(instead)} cannot be combined: each says what to do instead of one run; leave one out"
            )
        lonely = next((name for name in _ABOUT_CFG if name in self._values and "--cfg" not in self._values), None)
        if lonely is not None:
            raise SettingsError(f"{lonely} belongs to --cfg; add --cfg job, or leave it out")
        if self._values.get("--cfg") == "job":
            self._values["--resolve"] = None  # show values, not interpolations
        return [word for name, value in self._values.items() for word in ((name,) if value is None else (name, value))]


def _checked(typed: str, choices: Sequence[str], value: str | None) -> str:
    """The value of a flag."""
    if choices and value not in choices:
        raise SettingsError(f"{typed} must be one of {', '.join(choices)}, got {'nothing' if value is None else repr(value)}")
    if not value:
        raise SettingsError(f"{typed} needs a value")
    if typed in ("-cd", "--config-dir") and not os.path.isdir(value):
        raise SettingsError(f"{typed}={value}: no such folder (looked at {Path(value).absolute()})")
    return value
