"""Runs a command under Hydra: single runs, ``-m`` sweeps, launchers. Hydra's errors become one line.

``magic_cli.cli.main`` imports this only when a command runs.
"""

from __future__ import annotations

import copy
import importlib
import math
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, IntervalSweep, Override, RangeSweep
from hydra.core.utils import configure_log
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from magic_cli.cli.command import Command
from magic_cli.cli.exit_statuses import ExitStatuses
from magic_cli.cli.hydra_flags import asks_for_sweep, only_looks, value_of
from magic_cli.cli.stopping import stop_behind
from magic_cli.cli.sweeps import SweepTalk, check_objective, measure_objective, report_runs, require_objectives, tell_repeat
from magic_cli.configuration import composing
from magic_cli.configuration.files import find_config_dir
from magic_cli.configuration.hydra_errors import explain
from magic_cli.configuration.points import compose, explained
from magic_cli.errors import MagicError, SettingsError, of_machine
from magic_cli.runs.naming import each_repeat, refuse_shared_repeats
from magic_cli.terminal import streams as terminal

_BASIC = "hydra._internal.core_plugins.basic_"
_SWEEPS = Path("runs", ".sweeps")
_NOT_THERE = object()


def run(command: Command, flags: list[str], overrides: list[str]) -> int:
    """Run a command once, or once for each point of a sweep; returns the worst exit status.

    Raises:
        MagicError: A setting is wrong; all points of a sweep are checked before the first one runs.
    """
    composing.register()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors are raised here instead of being printed over several lines
    broken_pipes: list[BrokenPipeError] = []
    config_name = command.name.replace("-", "_")
    statuses = ExitStatuses(_SWEEPS if any(override.startswith("hydra/launcher=") for override in overrides) else None)
    talk = SweepTalk()

    def task_function(config: DictConfig) -> float:
        try:
            status, objective = _run_point(command, config, talk)
        except BrokenPipeError as error:  # raised again below; Hydra would report it as a failed job
            broken_pipes.append(error)
            return 0
        except Exception as error:
            stop = stop_behind(error)
            if stop is None:
                raise
            raise stop from None  # after any other error Hydra goes on with the next point of a sweep
        statuses.add(status)
        return status if objective is None else objective

    try:
        configs: list[DictConfig] = []
        if not only_looks(flags):
            talk, configs = _check_all_points(command, config_name, flags, overrides)
        elif "--hydra-help" in flags:
            overrides = [override for override in overrides if _is_of_hydra(override)]  # that page has no other settings
        elif "--package" in flags:
            _check_package(config_name, flags, overrides)
        if configs and not flags and not any(map(_is_of_hydra, overrides)):
            _run_alone(configs[0], task_function)
        else:
            main = hydra.main(version_base="1.3", config_path=str(find_config_dir()), config_name=config_name)(task_function)
            sys.argv = ["magic", *flags, *overrides]
            # the errors of a run are its own
            with explained(overrides, value_of("--config-dir", flags)) if only_looks(flags) else nullcontext():
                main()
        worst = statuses.worst()
    except SystemExit as end:
        if "--hydra-help" not in flags or end.code:
            raise
        worst = 0
    except (HydraException, OmegaConfBaseException) as error:
        raise explain(error, overrides, command.name) from error
    finally:
        statuses.close()
    if broken_pipes:
        raise broken_pipes[0]
    return worst


def _run_alone(config: DictConfig, task_function: Callable[[DictConfig], float]) -> None:
    """A single run without Hydra's own options. ``hydra.main`` would compose the settings two more times."""
    around = HydraConfig.instance()
    before, around.cfg = around.cfg, None
    try:
        around.set_config(config)
        configure_log(config.hydra.job_logging, config.hydra.verbose)
        task_function(_without_hydra(config))
    finally:
        around.cfg = before


def _without_hydra(config: DictConfig) -> DictConfig:
    """A copy without Hydra's own settings, as ``hydra.main`` passes it to its function."""
    copied = copy.deepcopy(config)
    with read_write(copied), open_dict(copied):
        del copied["hydra"]
    return copied


def _run_point(command: Command, config: DictConfig, talk: SweepTalk) -> tuple[int, float | None]:
    """The exit status, and the value for a search if it asked for one."""
    composing.register()  # needed if a launcher started this process
    terminal.guard_streams()
    settings = composing.to_settings(config, command.load_settings_class())
    hydra_settings: Any = HydraConfig.get()
    if OmegaConf.select(hydra_settings, "job.num", throw_on_missing=False) is not None:  # a single run has none
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
        if stop_behind(error) is not None:
            raise
        if not _is_basic("launcher", hydra_settings) or not _is_basic("sweeper", hydra_settings):
            raise  # another process prints it, or a search must learn that this point has no value
        talk.fail(error)
        return 2, None


def _is_basic(kind: str, hydra_settings: Any) -> bool:
    return hydra_settings[kind]._target_.startswith(_BASIC)


def _run_command(command: Command, settings: Any) -> int:
    try:
        return importlib.import_module(command.module).run(settings)
    except (OSError, RuntimeError) as error:
        asks_stdin = getattr(settings, "asks_stdin", False)
        run = getattr(settings, "run", None)
        run = replace(settings.run, batch_size=1) if asks_stdin else run  # each path is answered by itself
        fault = of_machine(error, run, command.when_repeated(asks_stdin))
        if fault is None:
            raise
        raise fault from error


def _check_all_points(
    command: Command, config_name: str, flags: list[str], overrides: list[str]
) -> tuple[SweepTalk, list[DictConfig]]:
    """Compose and check the settings of every point without models; returns the messages during the sweep, and the configs.

    Raises:
        MagicError: A setting of a point is wrong, or two different points would share one run folder or one sampled run.
    """
    settings_class = command.load_settings_class()
    is_sweep = asks_for_sweep(flags)
    folders: dict[str, str] = {}
    checked, configs = [], []
    with hydra.initialize_config_dir(str(find_config_dir()), version_base="1.3"):
        searches = is_sweep and _searches(config_name, overrides)
        sweep = _parsed(overrides, is_searched=bool(searches)) if is_sweep else []
        points = [_one_point(sweep)] if searches else _points(sweep) if is_sweep else [overrides]
        for point in points:
            config = compose(config_name, point, own_folder=value_of("--config-dir", flags), with_hydra=True)
            settings = composing.to_settings(_without_hydra(config), settings_class)
            configs.append(config)
            check_objective(settings, searches.hydra.sweeper if searches else None)
            checked.append(settings)
            for one in each_repeat(settings):
                claimed, identity = one.claim() or ((), "")
                for folder in (claimed,) if isinstance(claimed, str) else claimed:
                    if folders.setdefault(folder, identity) != identity:
                        raise SettingsError(
                            f"{folder}: all points of the sweep would write into this folder; leave out run.dir or output, or sweep over the input"
                        )
    if is_sweep and any(getattr(settings, "asks_stdin", False) for settings in checked):
        raise SettingsError("--images -: stdin can be read once, and -m asks for several runs; leave out -m, or name a folder")
    refuse_shared_repeats(checked)
    require_objectives(checked)
    varying = [override.get_key_element() for override in sweep if override.is_sweep_override()]
    return SweepTalk(varying, None if searches else len(points)), configs


def _check_package(config_name: str, flags: list[str], overrides: list[str]) -> None:
    """Refuse settings that ``--cfg`` cannot show: Hydra would stop with words of its own."""
    package, view = value_of("--package", flags) or "", value_of("--cfg", flags)
    with hydra.initialize_config_dir(str(find_config_dir()), version_base="1.3"):
        config = compose(config_name, overrides, own_folder=value_of("--config-dir", flags), with_hydra=view != "job")
    if view == "hydra":
        config = OmegaConf.masked_copy(config, "hydra")
    part = config if package == "_global_" else OmegaConf.select(config, package, default=_NOT_THERE)
    if part is None:
        raise SettingsError(
            f"--package={package}: is null, so there is nothing to show; --cfg {view} without it shows all settings"
        )
    if part is _NOT_THERE:
        raise SettingsError(
            f"--package={package}: nothing to show; name a part of --cfg {view}, such as {', '.join(map(str, config))}"
        )


def _is_of_hydra(override: str) -> bool:
    return override.lstrip("+~").startswith("hydra")


def _searches(config_name: str, overrides: list[str]) -> DictConfig | None:
    """Hydra's own settings if the sweeper chooses the points itself, as optuna does; None for the basic sweeper."""
    config = hydra.compose(config_name, list(filter(_is_of_hydra, overrides)), return_hydra_config=True)
    return None if _is_basic("sweeper", config.hydra) else config


def _parsed(overrides: list[str], *, is_searched: bool) -> list[Override]:
    """The overrides of a sweep; Hydra must be initialised, for ``decoding=glob(*)``.

    Raises:
        SettingsError: An override has no values to try, or none that this kind of sweep can try.
    """
    parsed = OverridesParser.create(GlobalHydra.instance().config_loader()).parse_overrides(overrides)
    for override in parsed:
        if override.is_sweep_override():
            _check_sweep(override, is_searched)
    return parsed


def _check_sweep(override: Override, is_searched: bool) -> None:
    line, sweep = override.input_line, override.value()
    if isinstance(sweep, IntervalSweep):
        if not is_searched:
            raise SettingsError(
                f"{line}: an interval is searched, with hydra/sweeper=optuna; to try all of some values, write a,b,c or range(...)"
            )
        return
    if isinstance(sweep, RangeSweep):
        numbers = [number or 0 for number in (sweep.start, sweep.stop, sweep.step)]
        if sweep.step == 0 or not all(map(math.isfinite, numbers)):
            raise SettingsError(f"{line}: never ends; write range(start,stop,step) with finite numbers, the step not 0")
    if next(override.sweep_string_iterator(), None) is None:
        raise SettingsError(f"{line}: gives no value to try; write a,b,c, or a range or glob that has some")
    if is_searched and isinstance(sweep, Glob):
        written = f"{override.get_key_element()}={','.join(override.sweep_string_iterator())}"
        raise SettingsError(f"{line}: a search knows no patterns; write {written}")


def _one_point(sweep: list[Override]) -> list[str]:
    """A point of the space of a search: the first choice, or the start of the interval, of each setting."""
    point = []
    for override in sweep:
        if not override.is_sweep_override():
            point.append(str(override.input_line))
        elif isinstance(value := override.value(), IntervalSweep):
            point.append(f"{override.get_key_element()}={value.start}")
        else:
            point.append(f"{override.get_key_element()}={next(override.sweep_string_iterator())}")
    return point


def _points(sweep: list[Override]) -> list[list[str]]:
    """The overrides of each point, by the sweeper that tries all."""
    return [list(point) for batch in BasicSweeper.split_arguments(sweep, max_batch_size=None) for point in batch]
