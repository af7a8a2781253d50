"""The settings that ``--help`` shows: names as a user types them, defaults and comments, straight from the config files.

Reads the files as text, for their comments, and because help must not wait for Hydra.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from magic_cli.configuration.files import Group, find_config_dir

_SETTING = re.compile(r"( *)(\w+):(?: +([^# ].*?))?(?: +# (.*))?")
"""Indentation, key, value (none if a block begins), comment."""

_Row = tuple[str, str]
"""``name: default``, and a comment."""


def describe_settings(command: str, groups: Sequence[Group]) -> str:
    """What can be set, and to what: the groups, the command's own settings, and those that come with each group's default.

    Args:
        command: Its name.
        groups: Its groups.
    """
    folder = find_config_dir()
    own = (folder / f"{command.replace('-', '_')}.yaml").read_text(encoding="utf-8")
    set_here = {name for name, _, _ in _settings(own, "")}  # wins over what comes with a group
    parts = [
        "settings (typed name=value; here name: default):",
        *_columns("  ", ((_default(group), ", ".join(group.options) if len(group.options) > 1 else "") for group in groups)),
        "",
        *_columns("  ", _rows(_settings(own, ""))),
    ]
    for group in groups:
        if group.default != "null":
            text = (folder / group.name / f"{group.default}.yaml").read_text(encoding="utf-8")
            package = "" if text.startswith("# @package _global_") else group.package
            settings = [setting for setting in _settings(text, package) if setting[0] not in set_here]
            parts += ["", f"  {group.typed}={group.default}", *_columns("    ", _rows(settings))]
    return "\n".join(parts)


def _default(group: Group) -> str:
    return (
        f"{group.typed}=..." if group.default == "null" else f"{group.typed}: {group.default}"
    )  # null can be a default, but not be typed


def _rows(settings: Iterable[tuple[str, str, str]]) -> Iterator[_Row]:
    return ((f"{name}: {value}", comment) for name, value, comment in settings)


def _settings(text: str, package: str) -> Iterator[tuple[str, str, str]]:
    """Name, default and comment of each setting of a config file, those in blocks with their full names; a block's comment goes to those without one."""
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
            yield name, value, comment
        else:
            blocks.append((len(indentation), name, comment))


def _columns(indentation: str, rows: Iterable[_Row]) -> Iterator[str]:
    rows = list(rows)
    width = max((len(left) for left, _ in rows), default=0)
    for left, comment in rows:
        yield f"{indentation}{left:<{width}}  # {comment}" if comment else f"{indentation}{left}"
