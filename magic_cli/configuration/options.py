"""The settings that the options of a command's groups define, read as text: typed names, defaults and comments.

Read without Hydra, so that help is fast. A test compares the values with those that Hydra composes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from magic_cli.configuration.files import Group, find_config_dir

_LINE = re.compile(r"( *)(\w+):(?: +([^# ].*?))?(?: +# (.*))?")
"""Indentation, key, value (none if a block begins), comment."""
_CONDITION = re.compile(r"\[(.+?=.+?|magic .+?)\] ?(.*)")
"""The beginning of the comment of a setting that not every choice has: ``[stage=mls]`` or ``[magic caption, magic story]``."""
_RECOMMENDED = re.compile(r"\$\{recommended:(\w+)(?:,(.+))?\}")
_NAMED_IN = {"guides": "decoding.guides", "metrics": "metrics.names"}
"""Groups with blocks of settings that are used only if a list names the block."""
_RECOMMENDING = ("image_text_model", "language_model", "interleaved_model")
"""Groups whose models recommend values; earlier ones override later ones."""
_PLAIN = re.compile(r"[\w./@+-]+")


@dataclass(frozen=True)
class Setting:
    """One line of help.

    Attributes:
        name: The name as the user types it, such as ``decoding.k``.
        value: Its default, as the user would type it.
        comment: Its meaning; may be empty.
        condition: The choice that it needs, such as ``stage=mls``, or the commands that have it; empty: none.
    """

    name: str
    value: str
    comment: str
    condition: str = ""


@dataclass(frozen=True)
class Section:
    """The settings that come with one option; ``group`` is None for the command's own."""

    group: Group | None
    option: str
    settings: tuple[Setting, ...]


def choose(groups: Sequence[Group], named: Mapping[str, str]) -> dict[str, str]:
    """The option of each group, by typed name: the one named, else one that a chosen option asks for, else the default."""
    chosen = {group.typed: group.default for group in groups} | dict(named)
    for group in groups:
        if chosen[group.typed] != "null":
            asked = _overrides(group, chosen[group.typed], groups)
            chosen |= {typed: option for typed, option in asked.items() if typed not in named}
    return chosen


def sections(command: str, groups: Sequence[Group], chosen: Mapping[str, str], lists: Mapping[str, str]) -> list[Section]:
    """All settings: the command's own first, then those of each group's option.

    Args:
        command: Its name.
        groups: Its groups.
        chosen: The option of each group, also of a group inside another's option, such as ``decoding@decoding.base``.
        lists: Values of lists that the user names, such as ``decoding.guides``.
    """
    file = find_config_dir() / f"{command.replace('-', '_')}.yaml"
    found = {group.typed: _read_option(group, chosen) for group in groups if chosen[group.typed] != "null"}
    own = _read(file, "", chosen)
    order = [
        entry if entry == "_self_" else next(iter(entry))
        for entry in _defaults(file)
        if entry == "_self_" or isinstance(entry, dict)
    ]
    is_later = {group.typed: order.index(_hydra_name(group)) > order.index("_self_") for group in groups}
    last: dict[str, str] = {}
    for typed in (*(t for t in found if not is_later[t]), "", *(t for t in found if is_later[t])):
        last |= dict.fromkeys((setting.name for setting in (found[typed] if typed else own)), typed)  # later files win
    everything = {"": own} | found
    meanings = {s.name: s.comment for settings in everything.values() for s in settings if s.comment}
    values = {s.name: s.value for typed, settings in everything.items() for s in settings if last[s.name] == typed} | dict(lists)
    by_name = {group.typed: group for group in groups}
    return [
        Section(
            by_name.get(typed),
            chosen.get(typed, ""),
            tuple(
                replace(
                    setting,
                    value=_resolved(values[setting.name], command, values),
                    comment=setting.comment or meanings.get(setting.name, ""),
                )
                for setting in settings
                if last[setting.name] == typed and _counts(setting, command, chosen, values)
            ),
        )
        for typed, settings in everything.items()
    ]


def _hydra_name(group: Group) -> str:
    return group.name if group.package == group.name else f"{group.name}@{group.package}"


def _counts(setting: Setting, command: str, chosen: Mapping[str, str], values: Mapping[str, str]) -> bool:
    """Whether a setting has an effect with the current choices."""
    group, _, rest = setting.name.partition(".")
    if rest.startswith("recommended.") or setting.name == "task":
        return False
    block = rest.partition(".")[0] if "." in rest else ""
    if block and group in _NAMED_IN and block not in re.findall(r"\w+", values.get(_NAMED_IN[group], "")):
        return False
    if setting.condition.startswith("magic "):
        return f"magic {command}" in setting.condition.split(", ")
    return is_met(setting.condition, chosen)


def is_met(condition: str, chosen: Mapping[str, str]) -> bool:
    """Whether ``group=option`` is chosen; an empty condition is always met."""
    group, _, option = condition.partition("=")
    return not condition or chosen.get(group) == option


def _resolved(value: str, command: str, values: Mapping[str, str]) -> str:
    """The value of a default that models recommend; ``???`` if they recommend none and one is needed."""
    asked = _RECOMMENDED.fullmatch(value)
    if asked is None:
        return value
    key, otherwise = asked.groups()
    if key == "prompt" and "decoding.prompt" in values:
        return "null"
    places = (f"{group}.recommended.{command}.{key}" for group in _RECOMMENDING)
    needed = otherwise or ("null" if key.startswith(("prompt", "memory_")) else "???")
    return next((values[place] for place in places if place in values), needed)


def _read_option(group: Group, chosen: Mapping[str, str]) -> list[Setting]:
    return _read(find_config_dir() / group.name / f"{chosen[group.typed]}.yaml", group.package, chosen)


def _read(file: Path, package: str, chosen: Mapping[str, str]) -> list[Setting]:
    """The settings of a file, and of the files in its defaults list, unless other options are chosen."""
    text = file.read_text(encoding="utf-8")
    if text.startswith("# @package _global_"):
        package = ""
    settings: dict[str, Setting] = {}
    for entry in _defaults(file) if package else ():
        if isinstance(entry, str) and entry != "_self_":
            if not entry.startswith("/"):  # another option of the same group
                settings |= {setting.name: setting for setting in _read(file.with_name(f"{entry}.yaml"), package, chosen)}
        elif isinstance(entry, dict):
            [(place, option)] = entry.items()
            folder, _, inner = place.lstrip("/").partition("@")
            if place.startswith("/") and inner:
                option = chosen.get(f"{folder}@{package}.{inner}", option)
                below = _read(find_config_dir() / folder / f"{option}.yaml", f"{package}.{inner}", chosen)
                settings |= {setting.name: setting for setting in below}
    for setting in _own(text, package):
        known = settings.get(setting.name)
        settings[setting.name] = replace(setting, comment=setting.comment or (known.comment if known else ""))
    return list(settings.values())


def _defaults(file: Path) -> list[Any]:
    return yaml.safe_load(file.read_text(encoding="utf-8")).get("defaults", [])


def _overrides(group: Group, option: str, groups: Sequence[Group]) -> dict[str, str]:
    """The options that one option chooses in other groups."""
    typed = {_hydra_name(other): other.typed for other in groups}
    entries = _defaults(find_config_dir() / group.name / f"{option}.yaml")
    pairs = [pair for entry in entries if isinstance(entry, dict) for pair in entry.items()]
    names = [(place.removeprefix("override /"), chosen) for place, chosen in pairs if place.startswith("override /")]
    return {typed[name]: chosen for name, chosen in names if name in typed}


def _own(text: str, package: str) -> Iterator[Setting]:
    """The settings in the file itself; the comment of a block applies to its settings without a comment."""
    lines: dict[str, tuple[str, str]] = {}
    blocks = [(-1, package)]
    for match in filter(None, map(_LINE.fullmatch, text.splitlines())):
        indentation, key, value, comment = match.groups()
        while blocks[-1][0] >= len(indentation):
            blocks.pop()
        parent = blocks[-1][1]
        name = f"{parent}.{key}" if parent else key
        lines[name] = value or "", comment or ""
        if not value:
            blocks.append((len(indentation), name))
    data = yaml.safe_load(text) or {}
    yield from _leaves({key: value for key, value in data.items() if key not in ("defaults", "hydra")}, package, lines, ("", ""))


def _leaves(
    data: Mapping[str, Any], parent: str, lines: Mapping[str, tuple[str, str]], above: tuple[str, str]
) -> Iterator[Setting]:
    for key, value in data.items():
        name = f"{parent}.{key}" if parent else key
        typed, comment = lines.get(name, ("", ""))
        condition, meaning = match.groups() if (match := _CONDITION.fullmatch(comment)) else ("", comment)
        here = meaning or above[0], condition or above[1]
        if isinstance(value, dict) and value:
            yield from _leaves(value, name, lines, here)
        else:
            is_text_of_file = typed and typed[0] not in ">|"
            yield Setting(name, typed if is_text_of_file else _typed(value), *here)


def _typed(value: Any) -> str:
    """A value in YAML's form, which Hydra reads."""
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) else json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        return f"[{', '.join(map(_typed, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_typed(inner)}' for key, inner in value.items())}}}"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
