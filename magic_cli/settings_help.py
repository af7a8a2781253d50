"""The settings that ``--help`` shows: names as a user types them, defaults and comments, straight from the config files.

Reads the files as text, for their comments, and because help must not wait for Hydra.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

_GROUP = re.compile(r"  - (\w+)(?:@(\w+))?: (\w+)")
"""A line of a defaults list: group, the name that its settings have (if not the group's), option."""
_SETTING = re.compile(r"( *)(\w+):(?: +([^# ].*?))?(?: +# (.*))?")
"""Indentation, key, value (none if a block begins), comment."""
_OVERRIDDEN = re.compile(r"^  - override /(?!hydra/)([\w/@]+):", re.MULTILINE)
"""A line of a defaults list that chooses for another group."""

_Row = tuple[str, str]
"""``name: default``, and a comment."""


def describe_settings(folder: Path, shown_configs: Sequence[str]) -> str:
    """What can be set, and to what.

    Args:
        folder: Where the config files are.
        shown_configs: Files to show, without ``.yaml``; the first one's defaults list names the groups.
    """
    main, *files = shown_configs
    text = (folder / f"{main}.yaml").read_text(encoding="utf-8")
    groups = {match[1]: match for match in map(_GROUP.match, text.splitlines()) if match}
    typed = {group: f"{group}@{match[2]}" if match[2] else group for group, match in groups.items()}
    parts = [
        "settings (typed name=value; here name: default):",
        *_columns("  ", ((_default(typed[group], match[3]), _options(folder / group, typed.values())) for group, match in groups.items())),
        "",
        *_columns("  ", _settings(text, "")),
    ]
    for file in files:
        group, _, option = file.partition("/")
        text = (folder / f"{file}.yaml").read_text(encoding="utf-8")
        package = "" if text.startswith("# @package _global_") else groups[group][2] or group
        parts += ["", f"  {typed[group]}={option}", *_columns("    ", _settings(text, package))]
    return "\n".join(parts)


def _default(group: str, option: str) -> str:
    return f"{group}=..." if option == "null" else f"{group}: {option}"  # null can be a default, but not be typed


def _options(group: Path, typed: Iterable[str]) -> str:
    """What a group can be set to, if there is a choice."""
    options = fitting_options(group, typed)
    return ", ".join(options) if len(options) > 1 else ""


def fitting_options(group: Path, typed: Iterable[str]) -> list[str]:
    """The choices of a group that only choose for groups which the command has: experiments belong to one command.

    Args:
        group: Its folder.
        typed: The command's groups, as Hydra knows them (``machine@run``).
    """
    known = set(typed)
    fitting = (file for file in group.rglob("*.yaml") if known.issuperset(_OVERRIDDEN.findall(file.read_text(encoding="utf-8"))))
    return sorted(file.relative_to(group).with_suffix("").as_posix() for file in fitting)


def _settings(text: str, package: str) -> Iterator[_Row]:
    """The settings of a config file, those in blocks with their full names; a block's comment goes to those without one."""
    blocks = [(-1, package, "")]
    for match in filter(None, map(_SETTING.fullmatch, text.splitlines())):
        indentation, key, value, comment = match.groups()
        if key == "defaults":
            continue
        while blocks[-1][0] >= len(indentation):
            blocks.pop()
        _, parent, meaning = blocks[-1]
        name, comment = f"{parent}.{key}" if parent else key, comment or meaning
        if value:
            yield f"{name}: {value}", comment
        else:
            blocks.append((len(indentation), name, comment))


def _columns(indentation: str, rows: Iterable[_Row]) -> Iterator[str]:
    rows = list(rows)
    width = max((len(left) for left, _ in rows), default=0)
    for left, comment in rows:
        yield f"{indentation}{left:<{width}}  # {comment}" if comment else f"{indentation}{left}"
