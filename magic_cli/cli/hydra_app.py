"""Runs a command under Hydra: single runs, ``-m`` sweeps, launchers; Hydra's errors become one line.

``magic_cli.cli.main`` imports this only when a command runs.
"""

from __future__ import annotations

import errno
import importlib
import os
import re
import sys
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from magic_cli.cli.command import Command
from magic_cli.cli.exit_statuses import ExitStatuses
from magic_cli.cli.sweeps import SweepTalk, check_objective, measure_objective, report_runs, require_objectives, tell_repeat
from magic_cli.configuration import composing
from magic_cli.configuration.files import find_config_dir, groups
from magic_cli.configuration.known_settings import meant
from magic_cli.errors import MagicError, SettingsError, nearest
from magic_cli.runs.naming import each_repeat, refuse_shared_repeats
from magic_cli.terminal import streams as terminal

_BASIC = "hydra._internal.core_plugins.basic_"
_SWEEPS = Path("runs", ".sweeps")
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST)
"""What the system says of a place where a command may not write or read."""


def run(command: Command, flags: list[str], overrides: list[str]) -> int:
    """Run a command once, or once for every point of a sweep; returns the worst exit status.

    Raises:
        MagicError: A setting is wrong; found for every point of a sweep before the first one runs.
    """
    composing.register()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach us instead of being printed over several lines
    broken_pipes: list[BrokenPipeError] = []
    config_name = command.name.replace("-", "_")
    statuses = ExitStatuses(_SWEEPS if any(override.startswith("hydra/launcher=") for override in overrides) else None)
    talk = SweepTalk()

    def task_function(config: DictConfig) -> float:
        try:
            status, objective = _run_point(command, config, talk)
        except BrokenPipeError as error:  # raised below: Hydra would report it as a failed job
            broken_pipes.append(error)
            return 0
        statuses.add(status)
        return status if objective is None else objective

    try:
        if not {"-c", "--cfg", "-i", "--info", "--hydra-help"} & set(flags):
            talk = _check_all_points(command, config_name, flags, overrides)
        main = hydra.main(version_base="1.3", config_path=str(find_config_dir()), config_name=config_name)(task_function)
        sys.argv = ["magic", *flags, *overrides]
        main()
        worst = statuses.worst()
    except (HydraException, OmegaConfBaseException) as error:
        raise explain(error, overrides, command.name) from error
    finally:
        statuses.close()
    if broken_pipes:
        raise broken_pipes[0]
    return worst


def _run_point(command: Command, config: DictConfig, talk: SweepTalk) -> tuple[int, float | None]:
    """Exit status, and the value that a search asked for."""
    composing.register()  # a launcher may have started this process
    terminal.guard_streams()
    settings = composing.to_settings(config, _settings_class(command))
    hydra_settings = HydraConfig.get()
    if OmegaConf.select(hydra_settings, "job.num", throw_on_missing=False) is not None:  # of a single run there is none
        talk.begin(hydra_settings.job.num + 1, list(hydra_settings.overrides.task))
    try:
        runs, status = each_repeat(settings), 0
        for number, one in enumerate(runs, start=1):
            tell_repeat(one, number, len(runs))
            status = max(status, _run_command(command, one))
        value = measure_objective(settings, runs)
        report_runs(settings, runs)
        return status, value
    except MagicError as error:
        if not _is_basic("launcher", hydra_settings) or not _is_basic("sweeper", hydra_settings):
            raise  # another process prints it, or a search must know that this point has no value
        talk.fail(error)
        return 2, None


def _is_basic(kind: str, hydra_settings: Any) -> bool:
    return hydra_settings[kind]._target_.startswith(_BASIC)


def _settings_class(command: Command) -> type:
    module, _, name = command.settings_class.rpartition(".")
    return getattr(importlib.import_module(module), name)


def _run_command(command: Command, settings: Any) -> int:
    try:
        return _run_until_stopped(command, settings)
    except OSError as error:
        if error.errno in _REFUSED and error.filename is not None:
            raise MagicError(
                f"{error.filename}: cannot be used ({error.strerror}); mend its permissions, or name another place"
            ) from error
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise MagicError(f"the disk is full ({error.strerror}); free some space; then {command.when_repeated}") from error
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's; this module does not import torch
            raise
        raise MagicError(
            f"run.device={settings.run.device}: out of memory with run.batch_size={settings.run.batch_size}; lower it, or set "
            f"run.dtype=bfloat16; then {command.when_repeated}"
        ) from error


def _run_until_stopped(command: Command, settings: Any) -> int:
    """A library that Ctrl-C strikes while it takes or gives back a lock may raise something else on its way out."""
    try:
        return importlib.import_module(command.module).run(settings)
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, KeyboardInterrupt):
                raise cause from None
            cause = cause.__cause__ or cause.__context__
        raise


def _check_all_points(command: Command, config_name: str, flags: list[str], overrides: list[str]) -> SweepTalk:
    """Compose and check the settings of every point, without models; returns what tells of the points as they run.

    Raises:
        MagicError: A setting of a point is wrong, or two different points would share one run folder, or one seeded run.
    """
    settings_class = _settings_class(command)
    is_sweep = bool({"-m", "--multirun"} & set(flags))
    directories = [flags[i + 1] for i, flag in enumerate(flags) if flag in ("-cd", "--config-dir")]
    search_path = [f"hydra.searchpath=[{','.join(f'file://{d}' for d in directories)}]"] if directories else []
    folders: dict[str, str] = {}
    checked = []
    with hydra.initialize_config_dir(str(find_config_dir()), version_base="1.3"):
        searches = is_sweep and _searches(config_name, overrides)
        points = [_one_point(overrides)] if searches else _points(overrides) if is_sweep else [overrides]
        for point in points:
            try:
                config = hydra.compose(config_name, [*search_path, *point])
            except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
                raise _unreadable_settings(error, directories) from error
            except ValueError as error:  # Hydra's answer to group=null
                raise _no_option(point) from error
            settings = composing.to_settings(config, settings_class)
            check_objective(settings, searches.hydra.sweeper if searches else None)
            checked.append(settings)
            for one in each_repeat(settings):
                claimed, identity = one.claim() or ((), "")
                for folder in (claimed,) if isinstance(claimed, str) else claimed:
                    if folders.setdefault(folder, identity) != identity:
                        raise SettingsError(
                            f"{folder}: the points of a sweep would write into this one folder; leave run.dir or output out, or sweep over what is read"
                        )
    refuse_shared_repeats(checked)
    require_objectives(checked)
    varying = [
        override.get_key_element()
        for override in OverridesParser.create().parse_overrides(overrides)
        if override.is_sweep_override()
    ]
    return SweepTalk(varying, None if searches else len(points))


def _no_option(overrides: list[str]) -> SettingsError:
    """A settings group that was given null or a number."""
    parsed = OverridesParser.create().parse_overrides(overrides)
    wrong = [one.input_line for one in parsed if one.key_or_group in _groups() and not isinstance(one.value(), str | list)]
    return SettingsError(
        f"{' '.join(wrong or overrides)}: a settings group must be one of its options; to leave it as it is, leave it out"
    )


def _unreadable_settings(error: Exception, directories: list[str]) -> MagicError:
    """A settings file of the user's that is no YAML, no UTF-8, or nested too deep."""
    place = ", ".join(directories) or str(find_config_dir())
    mark = getattr(error, "problem_mark", None)
    if mark is not None:
        return MagicError(
            f"{mark.name} line {mark.line + 1}: not valid YAML ({getattr(error, 'problem', None) or 'it ends too early'}); mend the line"
        )
    problem = "lists or settings are nested too deep" if isinstance(error, RecursionError) else " ".join(str(error).split())
    return MagicError(f"{place}: a settings file there cannot be read ({problem}); mend it, or save it as UTF-8")


def _searches(config_name: str, overrides: list[str]) -> DictConfig | None:
    """Hydra's own settings if the sweeper is one that makes up its points, such as optuna; None for the basic one."""
    own = [override for override in overrides if override.startswith("hydra")]
    config = hydra.compose(config_name, own, return_hydra_config=True)
    return None if _is_basic("sweeper", config.hydra) else config


def _one_point(overrides: list[str]) -> list[str]:
    """A point of the space that a search looks at: the first choice, or the start of the interval, of each setting."""
    point = []
    for override in OverridesParser.create().parse_overrides(overrides):
        if not override.is_sweep_override():
            point.append(override.input_line)
        elif isinstance(override.value(), IntervalSweep):
            point.append(f"{override.get_key_element()}={override.value().start}")
        else:
            point.append(f"{override.get_key_element()}={next(override.sweep_string_iterator())}")
    return point


def _points(overrides: list[str]) -> list[list[str]]:
    parsed = OverridesParser.create().parse_overrides(overrides)
    return [list(point) for batch in BasicSweeper.split_arguments(parsed, max_batch_size=None) for point in batch]


def explain(error: Exception, overrides: list[str], command: str) -> MagicError:
    """One line for the user: the setting, what was given, what is allowed."""
    cause: BaseException | None = error
    while cause is not None:  # a check of ours that failed while Hydra was resolving
        if isinstance(cause, MagicError):
            return cause
        cause = cause.__cause__ or cause.__context__
    root = error
    while isinstance(root.__cause__, HydraException | OmegaConfBaseException):
        root = root.__cause__
    return SettingsError(_one_line(error, root, overrides, command))


def _one_line(error: Exception, root: Exception, overrides: list[str], command: str) -> str:
    message = str(error)
    key = getattr(root, "full_key", None)
    given = dict(override.lstrip("+~").partition("=")[::2] for override in overrides)
    if match := re.search(r"Could not find '([^']+)/([^'/]+)'", message):
        group, option = match.groups()
        group, _, folder = group.partition("/") if group.startswith("experiment/") else (group, "", "")
        option = f"{folder}/{option}" if folder else option
        known = _accepted(group, command) or re.findall(r"^\t(\S+)$", message, re.MULTILINE)
        return f"{_TYPED.get(group, group)}={option} is unknown; {nearest(option, known)}"
    if "is not in struct" in str(root) or re.search(r"Key '.*' not in", str(root)):
        name = key or re.search(r"'([^']+)'", message).group(1)
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
    if match := re.search(r"missing mandatory value: (\w+)", message):
        return f"{match[1]} is not set; name one of its options: {', '.join(_accepted(match[1], command)) or 'see --help'}"
    first = str(root).splitlines()[0]
    if match := re.match(r"Value '(.*)' of type '\w+' could not be converted to (\w+)", first):
        value, wanted = match.groups()
        return f"{key} must be {_KINDS.get(wanted, wanted)}, got {value!r}"
    if match := re.match(r"Invalid value '(.*)', expected one of \[(.*)\]", first):
        return f"{key}: {nearest(match[1], match[2].split(', '))}, got {match[1]!r}"
    if "is not a ListConfig" in first or "Cannot merge DictConfig with ListConfig" in first:
        return f"{key} must be a list, got {given.get(key, '')!r}; write {key}=[...]"
    if "is not Optional" in first:
        return f"{key} must not be null"
    if key and key in given:
        return f"{key}={given[key]}: {first}"
    return f"{key}: {first}" if key else " ".join(message.split())


_TYPED = {"training_texts": "dataset"}
"""Groups that a user types under another name."""
_KINDS = {"Integer": "a whole number", "Float": "a number", "Boolean": "true or false", "String": "text"}


def _accepted(name: str, command: str) -> list[str]:
    """The options of a settings group that a command accepts."""
    return [option for group in groups(command) if group.name == name for option in group.options]


def _groups() -> list[str]:
    return sorted(folder.name for folder in find_config_dir().iterdir() if folder.is_dir())


def _names(error: Any) -> list[str]:
    """Full names of all settings of the config that an error came from."""
    parent = getattr(error, "parent_node", None)
    return list(composing.composed_names(parent._get_root())) if parent is not None else []


def _siblings(error: Any) -> list[str]:
    """Names of the settings beside the one that is not known."""
    parent = getattr(error, "parent_node", None)
    names = [str(key) for key in parent] if parent is not None else []
    return [name for name in names if name not in ("hydra", "task")] or _groups()
