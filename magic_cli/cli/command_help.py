"""The text of ``--help``: all commands, or the flags, examples and settings of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from magic_cli import __version__
from magic_cli.cli.command import Command, Flag
from magic_cli.cli.command_table import COMMANDS
from magic_cli.cli.settings_help import describe_settings, is_of_action, read_named
from magic_cli.configuration.files import Group, groups
from magic_cli.configuration.options import choose, is_met

_FIRST = ("caption", "story", "interleave", "evaluate", "table", "retrieve-images", "finetune-lm", "doctor")
"""Commands whose first example ``magic --help`` shows."""


def overview() -> str:
    """The text of ``magic --help``."""
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {c.name:<{width}}  {c.summary}" for c in COMMANDS.values())
    examples = "\n".join(f"  {COMMANDS[name].examples[0]}" for name in _FIRST)
    return f"""magic {__version__}: image-guided text generation

usage: magic COMMAND [FLAGS] [SETTING=VALUE ...]

commands:
{commands}

examples:
{examples}

magic COMMAND --help lists a command's flags, settings and more examples."""


def command_help(command: Command, words: Sequence[str] = ()) -> str:
    """The text of ``magic COMMAND --help``. It shows the default option of each group, unless the words beside it name another.

    Raises:
        SettingsError: The words name an unknown option.
    """
    chosen_from = _groups(command) if command.settings_class is not None else []
    named = read_named(words, command, chosen_from)
    chosen = choose(chosen_from, named.options)
    parts = [f"magic {command.name}: {command.summary}"]
    rows = [("|".join(command.action.choices), command.action.help)] if command.action else []
    rows += [(command.words.metavar, command.words.help)] if command.words else []
    rows += [
        (name if flag.value else f"{name} {flag.metavar}", _flag_help(flag, chosen_from))
        for name, flag in command.flags.items()
        if is_met(flag.condition, chosen) and is_of_action(flag.help, command, named.action)
    ]
    if command.settings_class is not None:
        rows += [
            ("-m", "sweep: every setting may have several values, a,b,c"),
            ("--cfg job", "show the settings and stop"),
            ("--config-dir DIR", "more configs, e.g. DIR/experiment/mine.yaml for experiment=mine"),
        ]
    width = max((len(left) for left, _ in rows), default=0)
    if rows:
        parts.append("flags:\n" + "\n".join(f"  {left:<{width}}  {right}" for left, right in rows))
    parts.append("examples:\n" + "\n".join(f"  {example}" for example in command.examples))
    if command.settings_class is not None:
        parts.append(describe_settings(command, chosen_from, named))
    return "\n\n".join(parts)


def _groups(command: Command) -> list[Group]:
    """The groups of a command, under the names that the user types."""
    typed = {hydra_name: name for name, hydra_name in command.renamed.items()}
    return [replace(group, typed=typed.get(group.typed, group.typed)) for group in groups(command.name)]


def _flag_help(flag: Flag, chosen_from: Sequence[Group]) -> str:
    """The help of a flag. If the flag chooses from a group, the options are listed, unless its help already has an example."""
    options = next(
        (
            group.options
            for group in chosen_from
            if flag.setting in (group.typed, f"{group.name}@{group.package}") and "e.g." not in flag.help
        ),
        (),
    )
    return f"{flag.help}: {', '.join(options[:-1])} or {options[-1]}" if options else flag.help
