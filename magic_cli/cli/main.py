"""The ``magic`` command: turns flags into Hydra overrides, runs a command, and reports errors in one line.

Neither torch nor Hydra is imported before a command runs, so that help is fast.
"""

from __future__ import annotations

import importlib
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence

from magic_cli import __version__
from magic_cli.cli.command import Action, Command, Flag
from magic_cli.cli.command_help import command_help, overview
from magic_cli.cli.command_table import COMMANDS
from magic_cli.cli.hydra_flags import HydraFlags, asks_for_sweep
from magic_cli.cli.stopping import obey_sigterm, status_of, stop_behind
from magic_cli.cli.waiting import wait_briefly
from magic_cli.configuration.overrides import quote
from magic_cli.errors import MagicError, SettingsError, nearest
from magic_cli.terminal import streams as terminal

USER_FAULT = 2

_HELP, _VERSION = ("-h", "--help"), "--version"
_SWEEP_FUNCTION = re.compile(r"(?:choice|glob|shuffle|sort|tag)\(.*\)")
_QUOTED = r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
_QUOTED_VALUE = re.compile(_QUOTED, re.DOTALL)
"""A value that the user has quoted for Hydra, as in ``name='"a,b"'``. ``'a' or 'b'`` is a text that contains quotes."""
_QUOTED_VALUES = re.compile(rf"{_QUOTED}(?:\s*,\s*{_QUOTED})*", re.DOTALL)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``magic``; returns the exit status (0: done; 2: the user must mend something; 3: done, but some items failed)."""
    argv = list(sys.argv[1:] if argv is None else argv)
    wait_briefly()
    streams = sys.stdout, sys.stderr
    terminal.guard_streams()
    try:
        status = _reported(argv)
    except BrokenPipeError:  # the reader of a stream has gone, as in `magic ... | head`
        terminal.discard_output()
        status = 128 + signal.SIGPIPE
    sys.stdout, sys.stderr = streams  # not after a bug, so that its traceback passes the guards, too
    return status


def _reported(argv: list[str]) -> int:
    """The exit status, after all output is written."""
    status = _outcome(argv, lambda: _main(argv))
    return _outcome(argv, sys.stdout.flush) or status  # a full disk shows up here, and becomes one line


def _outcome(argv: list[str], action: Callable[[], int | None]) -> int:
    """The exit status of an action; its errors become one line."""
    try:
        return action() or 0
    except (Exception, KeyboardInterrupt) as error:
        stop = stop_behind(error)
        if stop is not None:
            command = COMMANDS.get(_command_name(argv))
            what_now = command.when_repeated(command.asks_stdin(argv[1:])) if command else ""
            print(f"magic: stopped{f'; {what_now}' if what_now else ''}", file=sys.stderr)
            return status_of(stop)
        if not isinstance(error, MagicError):
            raise
        print(f"magic: {error}", file=sys.stderr)
        return USER_FAULT


def _main(argv: list[str]) -> int:
    if argv and argv[0] in (*_HELP, "help"):
        named = [word for word in argv[1:] if word not in _HELP]
        argv = [*named, "--help"] if named else []
    if not argv:
        print(overview())
        return 0
    command = COMMANDS.get(_command_name(argv))
    if argv[0] == _VERSION or (command is not None and argv[1:2] == [_VERSION]):  # elsewhere it may be a value
        print(f"magic {__version__}")
        return 0
    if command is None:
        raise SettingsError(f"unknown command {argv[0]!r}; {nearest(_command_name(argv), list(COMMANDS))}")
    if any(word in _HELP for word in argv[1:]):
        print(command_help(command, [word for word in argv[1:] if word not in _HELP]))
        return 0
    _check_working_folder()
    if command.settings_class is None:
        return importlib.import_module(command.module).run(**_arguments(argv[1:], command))
    flags, overrides = translate(argv[1:], command)
    obey_sigterm()

    from magic_cli.cli import hydra_app  # imports Hydra

    return hydra_app.run(command, flags, overrides)


def _check_working_folder() -> None:
    """Make sure that the working folder exists: relative paths and libraries need it."""
    try:
        os.getcwd()
    except FileNotFoundError as error:
        raise MagicError("the working folder no longer exists: it was deleted or moved; cd to another one") from error


def _command_name(argv: Sequence[str]) -> str:
    return argv[0].replace("_", "-") if argv else ""


def _arguments(words: Sequence[str], command: Command) -> dict[str, str]:
    """The flags of a command without settings, as arguments of its ``run``."""
    queue, arguments = list(words), dict[str, str]()
    given: list[str] = []
    while queue:
        name, has_value, value = queue.pop(0).partition("=")
        if name not in command.flags:
            raise SettingsError(f"magic {command.name} knows no {name!r}; {nearest(name, list(command.flags))}")
        value = value if has_value else _next_value(name, queue)
        _check_flag(name, value, command, given)
        given.append(name)
        arguments[command.flags[name].setting] = value
    return arguments


def translate(words: Sequence[str], command: Command) -> tuple[list[str], list[str]]:
    """Sort a command's words into Hydra's flags and overrides; the words may have any order.

    Args:
        words: The command line after the command's name.
        command: The command.

    Returns:
        Flags for Hydra, which must come first, and overrides. Flags of magic have become overrides.

    Raises:
        SettingsError: A flag is unknown or lacks its value, or a word has no meaning.
    """
    from magic_cli.cli.mistaken_values import check_override, meant_word  # not needed for help

    flags = HydraFlags()
    overrides: list[str] = []
    lists: dict[str, list[str]] = {}
    given: list[str] = []
    stray: list[str] = []
    is_sweep = asks_for_sweep(words)
    queue = list(words)
    while queue:
        word = queue.pop(0)
        name, has_value, value = word.partition("=")
        if flags.take(word, queue):
            continue
        if name in command.flags:
            flag = command.flags[name]
            if flag.value is not None:
                if has_value:
                    raise SettingsError(f"{name} takes no value, got {value!r}")
                value = flag.value
            else:
                value = value if has_value else _next_value(name, queue)
            _check_flag(name, value, command, given)
            given.append(name)
            if flag.is_list:
                lists.setdefault(flag.setting, []).extend(
                    [value] if flag.is_path or flag.metavar == "TEXT" or "=" in value else map(str.strip, value.split(","))
                )
            else:
                overrides.append(f"{flag.setting}={_flag_value(flag, value, is_sweep)}")
            if flag.also and flag.also not in overrides:
                overrides.insert(0, flag.also)
        elif word.startswith("-"):
            raise SettingsError(f"unknown flag {name}; {_meant_flag(name, command)}")
        elif command.words is not None and (not has_value or os.path.exists(word)):
            stray.append(word)
        elif has_value or word.startswith("~"):
            key = command.renamed.get(name, name)
            overrides.append(_quote_override(f"{key}={value}" if has_value else word, command, is_sweep))
        else:
            raise SettingsError(f"unexpected {word!r}; {meant_word(word, command)}")
    hydra_words = flags.words()
    if command.action is not None:
        overrides.insert(0, _take_action(command, command.action, stray, overrides))
    if command.words is not None and stray:
        lists[command.words.setting] = stray
    overrides += [f"{setting}=[{','.join(map(quote, values))}]" for setting, values in lists.items()]
    for override in overrides:
        check_override(override, command, has_own_configs="--config-dir" in hydra_words)
    return hydra_words, overrides


def _meant_flag(name: str, command: Command) -> str:
    """A hint for an unknown flag; it may be a setting typed like a flag."""
    setting = name.lstrip("-").replace("-", "_")
    known_settings = _settings_of(command)
    groups = {known.rpartition(".")[0] for known in known_settings}
    found = [known for known in known_settings if f".{known}".endswith(f".{setting}") and known not in groups]
    if found and setting != "task":
        depth = min(known.count(".") for known in found)
        return f"settings are written name=value: {' or '.join(f'{known}=...' for known in sorted(found) if known.count('.') == depth)}"
    return nearest(name, [*command.flags, "-m", "--cfg", "--config-dir"])


def _take_action(command: Command, action: Action, stray: list[str], overrides: list[str]) -> str:
    """The override for the command's action; its word is removed from the others."""
    setting, choices = action.setting, action.choices
    given = next((i for i, override in enumerate(overrides) if override.startswith(f"{setting}=")), None)
    if given is not None:
        return overrides.pop(given)
    if not stray:
        raise SettingsError(f"magic {command.name}: say what to do: {' or '.join(choices)}")
    word = stray.pop(0)
    if word not in choices:
        raise SettingsError(f"magic {command.name}: unknown action {word!r}; {nearest(word, choices)}")
    return f"{setting}={word}"


def _flag_value(flag: Flag, value: str, is_sweep: bool) -> str:
    if not flag.is_path and flag.metavar != "TEXT":
        return value
    return _values(value) if is_sweep else quote(value)  # null, too: for null, leave the flag out


def _quote_override(override: str, command: Command, is_sweep: bool) -> str:
    """The override with its value quoted if it is a text, so that commas, quotes and brackets mean nothing to Hydra."""
    key, _, value = override.partition("=")
    name = key.lstrip("+")
    if value == "" or "@" in name or name.startswith("hydra") or (is_sweep and _SWEEP_FUNCTION.fullmatch(value)):
        return override
    known = _settings_of(command)
    last = name.rpartition(".")[2]
    # an unknown name is refused later; until then its value must not be parsed by Hydra
    is_text = (
        known[name]
        if name in known
        else any(is_text and known_name.rpartition(".")[2] == last for known_name, is_text in known.items())
    )
    return f"{key}={_quote_value(value, is_sweep)}" if is_text else override


def _settings_of(command: Command) -> dict[str, bool]:
    from magic_cli.configuration import composing  # imports the settings of all commands

    return composing.settings_of(command.load_settings_class())


def _quote_value(value: str, is_sweep: bool) -> str:
    if value in ("null", "") or (_QUOTED_VALUES if is_sweep else _QUOTED_VALUE).fullmatch(value):
        return value
    return _values(value) if is_sweep else quote(value)


def _values(value: str) -> str:
    """Several values of a sweep, separated by commas; or a single one, if a file has this name."""
    return quote(value) if os.path.exists(value) else ",".join(quote(part.strip()) for part in value.split(","))


def _check_flag(name: str, value: str, command: Command, given: list[str]) -> None:
    """Refuse an empty value, a repeated flag that takes one value, and two flags that choose the same thing."""
    if not value:
        raise SettingsError(f"{name} needs a value, got an empty one")
    if name in given and not command.flags[name].is_list:
        several = f", or several with -m as {name} a,b" if command.settings_class is not None else ""
        raise SettingsError(f"{name} was given twice; give one value{several}")
    choosers = {
        "images": {"--image", "--images", "--dataset"},
        "titles": {"--title", "--titles", "--dataset"},
        "items": {"--part", "--items"},
        "texts": {"--texts", "--dataset"},
    }
    for other in given:
        for chosen, flags in choosers.items():
            if other != name and {other, name} <= flags:
                raise SettingsError(f"{other} and {name} cannot be combined: each chooses the {chosen}")


def _next_value(name: str, queue: list[str]) -> str:
    if not queue:
        raise SettingsError(f"{name} needs a value")
    return queue.pop(0)
