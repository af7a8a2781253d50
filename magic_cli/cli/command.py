"""What the command line knows of a command before it is imported: its words, flags and examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Flag:
    """A command-line flag that stands for a setting."""

    setting: str
    """What it sets, as in ``setting=value``."""
    help: str
    metavar: str = "NAME"
    is_path: bool = False
    also: str | None = None
    """An override that comes with it."""
    is_list: bool = False
    """May be repeated; the values are collected."""
    value: str | None = None
    """What it sets; None: the word that follows the flag."""
    instead: Mapping[str, str] = field(default_factory=dict)
    """Of a flag that chooses a group's option: what to type when the value is a ``folder``, a ``file``, an ``image`` or
    a ``hub`` id, with {} for it."""
    condition: str = ""
    """What must be chosen for it, ``decoding=rerank``; empty: nothing."""


@dataclass(frozen=True)
class Words:
    """What a command makes of the words that are neither flags nor settings."""

    setting: str
    """The list that they are."""
    metavar: str
    help: str


@dataclass(frozen=True)
class Action:
    """The first word of a command that does one of several things."""

    setting: str
    """What it sets."""
    choices: tuple[str, ...]
    help: str


@dataclass(frozen=True)
class Command:
    """What the command line knows of a command before it is imported."""

    name: str
    summary: str
    examples: tuple[str, ...]
    words: Words | None = None
    action: Action | None = None
    flags: dict[str, Flag] = field(default_factory=dict)
    settings_class: str | None = None
    """Its full name; None: the command takes no settings, and its flags are arguments of ``run``."""
    renamed: dict[str, str] = field(default_factory=dict)
    """Settings groups as the user types them, where Hydra has another name."""

    resumes: bool = False
    """Whether a command that was stopped goes on where it stopped when it is started again."""

    @property
    def when_repeated(self) -> str:
        """What happens when a stopped command is started again, for messages."""
        return "the same command goes on where it stopped" if self.resumes else "the same command starts from the beginning"

    @property
    def module(self) -> str:
        return f"magic_cli.commands.{self.name.replace('-', '_')}"
