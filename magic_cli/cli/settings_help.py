"""The settings that ``--help`` shows, and the choices that the other words of the command line make."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from magic_cli.cli.command import Command
from magic_cli.configuration.files import Group
from magic_cli.configuration.options import Section, choose, sections
from magic_cli.errors import SettingsError, nearest

_LISTS = ("decoding.guides", "metrics.names")
"""Settings whose value decides which other settings matter."""


@dataclass(frozen=True)
class Named:
    """The choices in the words beside ``--help``: an option of each group, lists, and the action of the command."""

    options: dict[str, str]
    lists: dict[str, str]
    action: str | None


def read_named(words: Sequence[str], command: Command, groups: Sequence[Group]) -> Named:
    """Read the choices from the command line; words that choose nothing are ignored, because the user asks for help.

    Raises:
        SettingsError: A group has no such option.
    """
    pairs, queue = [], list(words)
    while queue:
        name, has_value, value = queue.pop(0).partition("=")
        if name in command.flags:
            flag = command.flags[name]
            value = value if has_value or flag.value or not queue else queue.pop(0)
            pairs += [tuple(flag.also.partition("=")[::2])] if flag.also else []
            pairs.append((flag.setting, f"[{value}]" if flag.is_list else value))
        elif has_value:
            pairs.append((command.renamed.get(name, name), value))
    by_name = {f"{group.name}@{group.package}" if group.name != group.package else group.name: group for group in groups}
    by_name |= {group.typed: group for group in groups}
    has_own_configs = any(word.startswith(("--config-dir", "-cd")) for word in words)
    options = {}
    for name, value in pairs:
        group, option = by_name.get(name) or by_name.get(name.partition("@")[0]), value.partition(",")[0]  # the first of a sweep
        if group is None or not option:
            continue
        typed = group.typed if name in by_name else name  # decoding@decoding.base is a group inside an option
        if option in group.options:
            options[typed] = option
        elif not has_own_configs:
            raise SettingsError(f"{typed}={option} is unknown; {nearest(option, list(group.options))}")
    actions = command.action.choices if command.action else ()
    return Named(
        options, {name: value for name, value in pairs if name in _LISTS}, next((word for word in words if word in actions), None)
    )


def describe_settings(command: Command, groups: Sequence[Group], named: Named) -> str:
    """All settings with their defaults: the groups, the command's own, and those of each chosen option."""
    chosen = choose(groups, named.options)
    parts = [
        "settings (typed name=value; here name: default):",
        *_columns("  ", ((_default(group, chosen[group.typed]), _options(group)) for group in groups)),
    ]
    for section in sections(command.name, groups, chosen, named.lists):
        indentation = "    " if section.group else "  "
        rows = list(_columns(indentation, _rows(section, command, named.action)))
        if rows:
            parts += ["", *([f"  {section.group.typed}={section.option}"] if section.group else []), *rows]
    if groups:
        parts += ["", f"To see the settings of another choice, name it: magic {command.name} {_another(groups)} --help"]
    return "\n".join(parts)


def _another(groups: Sequence[Group]) -> str:
    """A choice other than the default, as an example."""
    group = next((group for group in groups if len(group.options) > 1), groups[0])
    return f"{group.typed}={next((option for option in group.options if option != group.default), group.default)}"


def _default(group: Group, option: str) -> str:
    return f"{group.typed}=..." if option == "null" else f"{group.typed}: {option}"  # null may be the default, but is never typed


def _options(group: Group) -> str:
    return ", ".join(group.options) if len(group.options) > 1 else ""


def _rows(section: Section, command: Command, action: str | None) -> Iterator[tuple[str, str]]:
    for setting in section.settings:
        if is_of_action(setting.comment, command, action):
            yield f"{setting.name}: {setting.value}", setting.comment


def is_of_action(text: str, command: Command, action: str | None) -> bool:
    """Whether a text is about the named action: ``make: ...`` does not belong to ``score``."""
    others = [choice for choice in command.action.choices if choice != action] if command.action and action else []
    return not any(re.match(rf"{other}: ", text) for other in others)


def _columns(indentation: str, rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    rows = list(rows)
    width = max((len(left) for left, _ in rows), default=0)
    for left, comment in rows:
        yield f"{indentation}{left:<{width}}  # {comment}" if comment else f"{indentation}{left}"
