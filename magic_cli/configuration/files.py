"""The config files as text: where they are, the groups of a command, and the options that it accepts.

Read without Hydra, so that help is fast.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_GROUP = re.compile(r"^  - (\w+)(?:@(\w+))?: (\w+)", re.MULTILINE)
"""A line of a defaults list: group, name of its settings (if it is not the group's), option."""
_OVERRIDDEN = re.compile(r"^  - override /(?!hydra/)([\w/@]+):", re.MULTILINE)
"""A line of a defaults list that chooses an option of another group."""
_FOR = re.compile(r"^# For: (.+)$", re.MULTILINE)
"""The commands that an option belongs to, ``magic caption, magic story``. Without this line it belongs to all."""
_TASK = re.compile(r"^task: (\w+)", re.MULTILINE)
"""The command that an experiment belongs to."""


def find_config_dir() -> Path:
    """The folder of Hydra configs: inside the package in a wheel, beside it in a checkout.

    Raises:
        FileNotFoundError: It is in neither place; the installation is broken.
    """
    package = Path(__file__).resolve().parents[1]
    places = [package.parent / "configs", package / "configs"]
    # a checkout comes first: an editable install leaves an old copy of configs in site-packages
    for place in places:
        if (place / "caption.yaml").is_file():
            return place
    raise FileNotFoundError(f"configs/caption.yaml is neither in {places[0]} nor in {places[1]}; reinstall magic")


@dataclass(frozen=True)
class Group:
    """A settings group of a command.

    Attributes:
        name: The folder of the group.
        package: The first part of its settings' names, as in ``run.device``.
        default: The option that is used unless the user chooses another; ``null``: none.
        typed: The name on the command line, such as ``machine@run``.
        options: The options that the command accepts, sorted.
    """

    name: str
    package: str
    default: str
    typed: str
    options: tuple[str, ...]


def groups(command: str) -> list[Group]:
    """The groups of a command (``finetune-lm``), in the order of its defaults list."""
    folder = find_config_dir()
    found = _GROUP.findall((folder / f"{command.replace('-', '_')}.yaml").read_text(encoding="utf-8"))
    typed = {name: f"{name}@{package}" if package else name for name, package, _ in found}
    return [
        Group(name, package or name, default, typed[name], tuple(_accepted(folder / name, command, typed.values())))
        for name, package, default in found
    ]


def _accepted(group: Path, command: str, typed: Iterable[str]) -> list[str]:
    """The options of a group that belong to a command and choose only from groups that it has."""
    known = set(typed)
    texts = {
        file.relative_to(group).with_suffix("").as_posix(): file.read_text(encoding="utf-8") for file in group.rglob("*.yaml")
    }
    return sorted(
        option for option, text in texts.items() if _belongs(text, command) and known.issuperset(_OVERRIDDEN.findall(text))
    )


def _belongs(text: str, command: str) -> bool:
    said = _FOR.search(text)
    commands = [name.strip() for name in said[1].split(",")] if said else [f"magic {task}" for task in _TASK.findall(text)]
    return not commands or f"magic {command}" in commands
