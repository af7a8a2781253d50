"""Composes the config of one point from overrides. Errors are one line, for the command line and for Python."""

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
from magic_cli.configuration.hydra_errors import explain, no_option, too_large, unreadable_settings
from magic_cli.configuration.overrides import quote


def settings_from(command: str, settings_class: type, overrides: Sequence[str]) -> Any:
    """The checked settings of a command, for Python: the same that the command line makes from these overrides.

    Args:
        command: Its name, as in ``finetune-lm``.
        settings_class: The class of its settings.
        overrides: ``setting=value`` words with quoted values (see ``overrides.override``).

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
    """Hydra with our configs. If the calling program itself runs under Hydra, its state is restored afterwards."""
    state = GlobalHydra.instance()
    theirs, state.hydra = state.hydra, None
    try:
        with hydra.initialize_config_dir(str(find_config_dir()), version_base="1.3"):
            yield
    finally:
        state = GlobalHydra.instance()
        state.hydra = theirs


def compose(config_name: str, overrides: Sequence[str], *, own_folder: str | None = None, with_hydra: bool = False) -> DictConfig:
    """The config of a command with overrides; Hydra must be initialised.

    Args:
        config_name: The command's file in ``configs/``.
        overrides: The overrides of one point.
        own_folder: A folder of the user's own configs.
        with_hydra: Include Hydra's own settings, below ``hydra``.

    Raises:
        MagicError: A settings file cannot be read, or a group has an unknown option.
    """
    search_path = [f"hydra.searchpath=[{quote(f'file://{own_folder}')}]"] if own_folder else []
    with explained(overrides, own_folder):
        return hydra.compose(config_name, [*search_path, *overrides], return_hydra_config=with_hydra)


@contextmanager
def explained(overrides: Sequence[str], own_folder: str | None) -> Iterator[None]:
    """While Hydra composes, its errors that are not of its own kinds become one line.

    Raises:
        MagicError: A settings file cannot be read, or a group has an unknown option.
    """
    try:
        yield
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise unreadable_settings(error, own_folder) from error
    except OverflowError as error:
        raise too_large(error, list(overrides)) from error
    except ValueError as error:  # Hydra's error for group=null, or Python's for a number of thousands of digits
        if "integer string conversion" in str(error):
            raise too_large(error, list(overrides)) from error
        raise no_option(list(overrides)) from error
