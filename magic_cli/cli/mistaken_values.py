"""Finds values that Hydra would accept, or refuse in its own words: a path instead of an option, and text that is not UTF-8."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

from magic_cli.cli.command import Command, Flag
from magic_cli.configuration import composing
from magic_cli.configuration.files import find_config_dir, groups
from magic_cli.configuration.overrides import refuse_other_bytes
from magic_cli.data.images import IMAGE_SUFFIXES
from magic_cli.data.place_names import is_address, local
from magic_cli.errors import SettingsError

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")
_SUFFIX = re.compile(r"\.[A-Za-z]\w*")
_KINDS = {"folder": "a folder", "file": "a file", "image": "an image", "hub": "another model of the hub"}
_SHOWN = 10


def check_override(override: str, command: Command, *, has_own_configs: bool) -> None:
    """Refuse a value that makes no sense, and say what to type.

    Args:
        override: ``setting=value``.
        command: The command.
        has_own_configs: Whether the user has configs of their own; their options are not known here.

    Raises:
        SettingsError: One line with the remedy.
    """
    key, _, value = override.partition("=")
    refuse_other_bytes(key, value)
    flag = next((flag for flag in command.flags.values() if flag.instead and flag.setting == key), None)
    if flag is not None and not has_own_configs:
        _check_option(key, value.strip("'\""), command, flag)


def meant_word(word: str, command: Command) -> str:
    """A hint for a word that is neither a flag nor ``name=value``: a setting without value, a folder, an image, a data set."""
    known = composing.settings_of(command.load_settings_class())
    if any(name.startswith(f"{word}.") for name in known):
        return f"name one of its settings: {word}.NAME=..."
    if word in known:
        return f"give it a value: {word}=..."
    is_folder = word.endswith("/") if is_address(local(word)) else os.path.isdir(word)
    flag = "--images" if is_folder else "--image" if Path(word).suffix or is_address(local(word)) else "--dataset"
    meant = (
        f", {'a data set' if flag == '--dataset' else 'images'} as in `{flag} {shlex.quote(word)}`"
        if flag in command.flags
        else ""
    )
    return f"settings are written name=value{meant}"


def _check_option(key: str, value: str, command: Command, flag: Flag) -> None:
    group = next(group for group in groups(command.name) if key in (group.typed, f"{group.name}@{group.package}"))
    is_option = os.path.isfile(find_config_dir() / group.name / f"{value}.yaml")
    kind = None if is_option else _kind_of(value, flag)
    if kind is None:
        return
    typed = {hydra_name: name for name, hydra_name in command.renamed.items()}.get(key, key)
    options = f"; {typed} is one of {', '.join(group.options)}" if len(group.options) <= _SHOWN else ""
    raise SettingsError(f"{typed}={value}: {_remedy(value, kind, flag)}{options}")


def _remedy(value: str, kind: str, flag: Flag) -> str:
    if kind in flag.instead:
        return f"for {_KINDS[kind]} write {flag.instead[kind].replace('{}', shlex.quote(value))}"
    others = (hint.replace("{}", other.upper()) for other, hint in flag.instead.items())
    return f"{_KINDS[kind]} cannot be taken; write {' or '.join(others)}"


def _kind_of(value: str, flag: Flag) -> str | None:
    """The kind of a value that is not an option: a key of ``Flag.instead``; None: a typing mistake."""
    path = Path(os.path.expanduser(value))
    if os.path.exists(path):  # pathlib raises if a name is too long
        return "folder" if path.is_dir() else _file_kind(path, flag)
    if "hub" in flag.instead and _HUB_ID.fullmatch(value) and not _SUFFIX.fullmatch(path.suffix):
        return "hub"
    if _SUFFIX.fullmatch(path.suffix):
        return _file_kind(path, flag)
    return "folder" if value.startswith(("/", "./", "../", "~")) or value.endswith("/") else None


def _file_kind(path: Path, flag: Flag) -> str:
    return "image" if "image" in flag.instead and path.suffix.lower() in IMAGE_SUFFIXES else "file"
