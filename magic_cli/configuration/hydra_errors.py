"""Hydra's errors as one line: the setting, the given value, and the allowed values."""

from __future__ import annotations

import re
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from magic_cli.configuration import composing
from magic_cli.configuration.files import find_config_dir, groups
from magic_cli.configuration.known_settings import meant
from magic_cli.configuration.overrides import with_quotes
from magic_cli.errors import MagicError, SettingsError, chain, nearest


def no_option(overrides: list[str]) -> SettingsError:
    """The error for a settings group with null or a number as value."""
    parsed = OverridesParser.create().parse_overrides(overrides)
    wrong = [str(one.input_line) for one in parsed if one.key_or_group in _groups() and not isinstance(one.value(), str | list)]
    return SettingsError(
        f"{' '.join(wrong or overrides)}: a settings group must be one of its options; for the default, leave it out"
    )


def too_large(error: Exception, overrides: list[str]) -> SettingsError:
    """The error for a number that Python cannot compute with."""
    key = re.search(r"full_key: (\S+)", str(error))
    longest = max(overrides, key=len, default="").partition("=")[0]
    return SettingsError(f"{key[1] if key else longest} is too large a number; write a smaller one")


def unreadable_settings(error: Exception, own_folder: str | None) -> MagicError:
    """The error for a settings file of the user that is not YAML, not UTF-8, or nested too deep."""
    place = own_folder or str(find_config_dir())
    mark = getattr(error, "problem_mark", None)
    if mark is not None:
        return MagicError(
            f"{mark.name} line {mark.line + 1}: not valid YAML ({getattr(error, 'problem', None) or 'it ends too early'}); mend the line"
        )
    problem = "lists or settings are nested too deep" if isinstance(error, RecursionError) else " ".join(str(error).split())
    return MagicError(f"{place}: a settings file there cannot be read ({problem}); mend it, or save it as UTF-8")


def explain(error: Exception, overrides: list[str], command: str) -> MagicError:
    """One line for the user: the setting, the given value, and the allowed values."""
    for cause in chain(error):  # one of our own checks that failed while Hydra resolved a value
        if isinstance(cause, MagicError):
            return cause
    root = error
    for cause in chain(error):
        if cause is root.__cause__ and isinstance(cause, HydraException | OmegaConfBaseException):
            root = cause
    return SettingsError(_one_line(error, root, overrides, command))


def _one_line(error: Exception, root: Exception, overrides: list[str], command: str) -> str:
    message = str(error)
    key = getattr(root, "full_key", None)
    given = dict(override.lstrip("+~").partition("=")[::2] for override in overrides)
    if isinstance(root, OverrideParseException):
        example = with_quotes(root.override)
        return (
            f"{root.override}: cannot be read; quote texts with special characters, and the whole word for the shell: {example}"
        )
    if match := re.search(r"Could not find '([^']+)/([^'/]*)'", message):
        group, option = match.groups()
        group, _, folder = group.partition("/") if group.startswith("experiment/") else (group, "", "")
        option = f"{folder}/{option}" if folder else option
        known = _accepted(group, command) or re.findall(r"^\t(\S+)$", message, re.MULTILINE)
        return f"{_TYPED.get(group, group)}={option} is unknown; {nearest(option, known)}"
    if "is not in struct" in str(root) or re.search(r"Key '.*' not in", str(root)):
        chosen, full = (re.search(pattern, message) for pattern in (r"In 'experiment/([^']+)'", r"full_key: (\S+)"))
        if chosen and _is_of_other_command(chosen[1], command):
            return f"experiment={chosen[1]} belongs to another command: it sets {full[1] if full else 'something'}, which this one does not have"
        quoted = full or re.search(r"'([^']+)'", message)
        name = key or (quoted[1] if quoted else message)
        name = next((typed for typed in given if typed == name or typed.startswith(f"{name}.")), name)
        return f"unknown setting {name}; {meant(name, _names(root), _siblings(root))}"
    if match := re.search(r"In 'experiment/([^']+)': Could not override '([^']+)'", message):
        return f"experiment={match[1]} belongs to another command: it chooses {match[2].rpartition('@')[2]}=..., which this one does not have (see --help for its experiments)"
    if "Could not override 'decoding@decoding.base'" in message:
        return "--base (decoding@decoding.base) belongs to decoding=rerank; add --decoding rerank, or leave it out"
    if match := re.search(r"Could not override '([^'@]+)(?:@[^']*)?'\. No match", message):
        own = [_TYPED.get(group.name, group.name) for group in groups(command) if group.name not in ("run", "machine")]
        return (
            f"magic {command} has no {match[1]}=... to choose; it has {', '.join(own)}"
            if own
            else f"magic {command} has no {match[1]}=... to choose"
        )
    if match := re.search(r"Ambiguous value for argument '([^']+)'", message):
        return f"{match[1]}: several values need -m (a sweep); if the comma belongs to the value, write name='\"a,b\"'"
    if match := re.search(r"Multiple values for ([\w/]+)", message):
        return f"+{match[1]}=... is already chosen; write {match[1]}=... without +"
    if "does not support deletion" in str(root):
        return f"~{key}: a setting cannot be taken away; leave this word out, and it has its default"
    if match := re.search(r"missing mandatory value: (\w+)", message):
        if match[1] not in _groups():
            return f"{key or match[1]} is not set; give it a value"
        return f"{match[1]} is not set; name one of its options: {', '.join(_accepted(match[1], command)) or 'see --help'}"
    first = str(root).splitlines()[0]
    if match := re.match(r"Value '(.*)' of type '\w+' could not be converted to (\w+)", first):
        value, wanted = match.groups()
        return f"{key} must be {_KINDS.get(wanted, wanted)}, got {value!r}"
    if match := re.match(r"Value '(.*)' is not a valid bool", first):
        return f"{key} must be true or false, got {match[1]!r}"
    if match := re.match(r"Value '(.*)' of type '\w+' is incompatible with type hint 'Union\[int, str\]'", first):
        return f"{key} must be a whole number or a word, got {match[1]!r}"
    if match := re.match(r"Invalid value '(.*)', expected one of \[(.*)\]", first):
        return f"{key}: {nearest(match[1], match[2].split(', '))}, got {match[1]!r}"
    if "is not a ListConfig" in first or "Cannot merge DictConfig with ListConfig" in first:
        return f"{key} must be a list, got {given.get(str(key), '')!r}; write {key}=[...]"
    if "is not Optional" in first or "NoneType is not a subclass of" in first:
        return f"{key} must not be null"
    if key and key in given:
        return f"{key}={given[key]}: {first}"
    return f"{key}: {first}" if key else " ".join(message.split())


_TYPED = {"training_texts": "dataset"}
"""Groups that the user types with another name."""
_KINDS = {"Integer": "a whole number", "Float": "a number", "Boolean": "true or false", "String": "text"}


def _accepted(name: str, command: str) -> list[str]:
    """The options of a settings group that a command accepts."""
    return [option for group in groups(command) if group.name == name for option in group.options]


def _is_of_other_command(experiment: str, command: str) -> bool:
    return (
        experiment not in _accepted("experiment", command) and (find_config_dir() / "experiment" / f"{experiment}.yaml").is_file()
    )


def _groups() -> list[str]:
    return sorted(folder.name for folder in find_config_dir().iterdir() if folder.is_dir())


def _names(error: Any) -> list[str]:
    """The full names of all settings of the config that raised an error."""
    parent = getattr(error, "parent_node", None)
    return list(composing.composed_names(parent._get_root())) if parent is not None else []


def _siblings(error: Any) -> list[str]:
    """The names of the settings beside the unknown one."""
    parent = getattr(error, "parent_node", None)
    names = [str(key) for key in parent] if parent is not None else []
    return [name for name in names if name not in ("hydra", "task")] or _groups()
