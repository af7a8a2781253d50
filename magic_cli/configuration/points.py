"""One point: a config composed from overrides; what is wrong with them is said in one line, by the command line and from Python alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import hydra
import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from magic_cli.configuration import composing
from magic_cli.configuration.files import find_config_dir
from magic_cli.configuration.hydra_errors import explain, no_option, unreadable_settings


def settings_from(command: str, settings_class: type, overrides: Sequence[str]) -> Any:
    """The checked settings of a command, from Python: as the command line makes them from the same overrides.

    Args:
        command: Its name, as in ``finetune-lm``.
        settings_class: The class of its settings.
        overrides: ``setting=value``, values quoted (``overrides.override``).

    Raises:
        MagicError: A setting is wrong.
    """
    composing.register()
    try:
        with _own_hydra():
            return composing.to_settings(compose(command.replace("-", "_"), overrides), settings_class)
    except (HydraException, OmegaConfBaseException) as error:
        raise explain(error, list(overrides), command) from error


@contextmanager
def _own_hydra() -> Iterator[None]:
    """Hydra on our configs; a program that runs under Hydra itself has its own back afterwards."""
    state = GlobalHydra.instance()
    theirs, state.hydra = state.hydra, None
    try:
        with hydra.initialize_config_dir(str(find_config_dir()), version_base="1.3"):
            yield
    finally:
        state = GlobalHydra.instance()
        state.hydra = theirs


def compose(
    config_name: str, overrides: Sequence[str], *, own_folders: Sequence[str] = (), with_hydra: bool = False
) -> DictConfig:
    """The config of a command and its overrides; Hydra is initialised.

    Args:
        config_name: The command's file in ``configs/``.
        overrides: Of one point.
        own_folders: Folders of the user's own configs, which an error names.
        with_hydra: With Hydra's own settings below ``hydra``.

    Raises:
        MagicError: A settings file cannot be read, or a group is given what is no option.
    """
    try:
        return hydra.compose(config_name, list(overrides), return_hydra_config=with_hydra)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise unreadable_settings(error, list(own_folders)) from error
    except ValueError as error:  # Hydra's answer to group=null
        raise no_option(list(overrides)) from error
