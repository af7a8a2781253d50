"""Reading the files of a model that settings name: where they lie, and what is said of those that cannot be read."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from magic_cli.errors import MagicError
from magic_cli.models.faults import ModelFault
from magic_cli.models.language.gguf_files import SMOLLM2, SUFFIX, require_smollm2
from magic_cli.models.sources import EMBEDDED, embedded_folder, fetch


def model_folder(settings: Any) -> Path:
    """The local folder, or GGUF file, that a model is read from; a hub model is fetched first."""
    if settings.path:
        folder = Path(settings.source)
        if folder.is_file() and folder.suffix == SUFFIX and settings.group == "language_model":
            return folder
        if not (folder / "config.json").is_file():
            raise MagicError(
                f"{settings.group}.path={settings.path}: has no config.json; name a folder that save_pretrained wrote"
            )
        return folder
    if settings.name == EMBEDDED:
        return embedded_folder(settings)
    if settings.name == SMOLLM2:
        return require_smollm2(settings)
    return fetch(settings.name, revision=settings.revision, setting=settings.group, instead=instead_of(settings))


def instead_of(settings: Any) -> str:
    """What else the user can do if a model cannot be loaded."""
    return getattr(settings, "instead", f"use {settings.group}={EMBEDDED}")


def tell(settings: Any, notes: list[str]) -> None:
    """What the user must know of a model that is used, a line each on stderr."""
    for note in notes:
        print(f"magic: {_place(settings)}: {note}", file=sys.stderr)


def _place(settings: Any) -> str:
    """The setting that names a model, as the user types it."""
    if settings.path:
        return f"{settings.group}.path={settings.path}"
    is_choice = settings.name in (EMBEDDED, SMOLLM2) and "." not in settings.group
    return f"{settings.group}={settings.name}" if is_choice else f"{settings.group}.name={settings.name}"


@contextmanager
def reading(settings: Any) -> Iterator[None]:
    """Turn what a library raises over model files into one line that names the setting."""
    logging.disable(logging.ERROR)  # libraries log the error that they raise, too
    try:
        yield
    except ModelFault as fault:
        raise fault.at(_place(settings)) from None
    except (MagicError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # each library and file format raises its own kinds of error
        group, place = settings.group, _place(settings)
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = f"{type(error).__name__}: {' '.join(lines)[:160]}"
        instead = instead_of(settings)
        if settings.path:
            raise MagicError(f"{place}: cannot be loaded ({reason}); name a complete model of this kind, or {instead}") from error
        if settings.name == EMBEDDED:
            raise MagicError(f"{place}: cannot be loaded ({reason}); reinstall magic") from error
        tried = "the cache and the hub" if getattr(settings, "pretrained", None) else "its files"
        raise MagicError(
            f"{place}: cannot be loaded from {tried} ({reason}); without network set {group}.path to a local "
            f"folder or file of it, or {instead}"
        ) from error
    finally:
        logging.disable(logging.NOTSET)
