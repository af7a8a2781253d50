"""What the command line knows about a command before it is imported: words, flags and examples."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise


@dataclass(frozen=True)
class Flag:
    """A command-line flag that stands for a setting."""

    setting: str
    """The setting, as in ``setting=value``."""
    help: str
    metavar: str = "NAME"
    is_path: bool = False
    also: str | None = None
    """A further override that the flag implies."""
    is_list: bool = False
    """True: the flag may be repeated, and its values are collected."""
    value: str | None = None
    """The value that the flag sets; None: the next word is the value."""
    instead: Mapping[str, str] = field(default_factory=dict)
    """For a flag that chooses an option of a group: what to type instead if the value is a ``folder``, a ``file``, an ``image``
    or a ``hub`` id, with {} in its place."""
    condition: str = ""
    """The choice that the flag requires, such as ``decoding=rerank``; empty: none."""


@dataclass(frozen=True)
class Words:
    """What a command does with words that are neither flags nor settings."""

    setting: str
    """The list setting that takes the words."""
    metavar: str
    help: str


@dataclass(frozen=True)
class Action:
    """The first word of a command that does one of several things."""

    setting: str
    """The setting that takes the word."""
    choices: tuple[str, ...]
    help: str


@dataclass(frozen=True)
class Command:
    """What the command line knows about a command before it is imported."""

    name: str
    summary: str
    examples: tuple[str, ...]
    words: Words | None = None
    action: Action | None = None
    flags: dict[str, Flag] = field(default_factory=dict)
    settings_class: str | None = None
    """Full name of the class of its settings; None: the command has none, and its flags are arguments of ``run``."""
    renamed: dict[str, str] = field(default_factory=dict)
    """Names of settings groups as the user types them, if Hydra's names differ."""

    resumes: bool = False
    """Whether a stopped command continues where it stopped when it is started again."""

    stdin: str = ""
    """The setting with which stdin names what to work on, if it is ``-``; there is no run folder then. Empty: none."""

    def asks_stdin(self, words: Sequence[str]) -> bool:
        """Whether the words after the command's name say that stdin names what to work on."""
        names = {self.stdin, *(name for name, flag in self.flags.items() if flag.setting == self.stdin)} if self.stdin else set()
        pairs = [*pairwise(words), *(word.lstrip("+").split("=", 1) for word in words if "=" in word)]
        return any(name in names and value.strip("'\"") == "-" for name, value in pairs)

    def when_repeated(self, asks_stdin: bool = False) -> str:
        """What follows after a command was stopped, for messages."""
        if asks_stdin:
            return "start it again with the paths that have no line on stdout"
        return "the same command goes on where it stopped" if self.resumes else "the same command starts from the beginning"

    @property
    def module(self) -> str:
        return f"magic_cli.commands.{self.name.replace('-', '_')}"

    def load_settings_class(self) -> type:
        """Import the class of its settings, which it must have."""
        assert self.settings_class is not None
        module, _, name = self.settings_class.rpartition(".")
        return getattr(importlib.import_module(module), name)
