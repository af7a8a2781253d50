"""Checkpoints that a crash cannot break: each is one file, which gets its name only when it is complete."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from magic_cli.errors import MagicError
from magic_cli.models.weights import number_faults, strict_faults

_BEST = "best.pt"


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: Folder of the checkpoints; created if it does not exist.
        keep: How many of the newest are kept.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder, self.keep = folder, keep
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob(".*.tmp"):
            leftover.unlink(missing_ok=True)  # every process of a run does this
        self._remove_old()

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Write a checkpoint, then delete the oldest ones beyond ``keep``."""
        _write(self.folder / f"step-{step:08d}.pt", state)
        self._remove_old()

    def load_newest(self) -> dict[str, Any] | None:
        """The state of the newest checkpoint; None if there is none.

        Raises:
            MagicError: The file is damaged.
        """
        files = self._steps()
        return _read(files[-1]) if files else None

    @property
    def newest(self) -> Path:
        """The file of the newest checkpoint; there must be one."""
        return self._steps()[-1]

    @property
    def best(self) -> Path:
        """The file of the best model so far."""
        return self.folder / _BEST

    def save_best(self, state: dict[str, Any]) -> None:
        """Store the best model so far."""
        _write(self.best, state)

    def load_best(self) -> dict[str, Any]:
        """The state that ``save_best`` stored last."""
        return _read(self.best)

    def _remove_old(self) -> None:
        for old in self._steps()[: -self.keep]:
            old.unlink(missing_ok=True)

    def _steps(self) -> list[Path]:
        return sorted(self.folder.glob("step-*.pt"))


@contextlib.contextmanager
def naming_full_disk() -> Iterator[None]:
    """Raise the system's own error for a full disk; libraries hide it in errors of their own."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        chain = [str(link) for link in (error, error.__cause__, error.__context__)]
        for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            if any(os.strerror(number) in text for text in chain):
                raise OSError(number, os.strerror(number)) from error
        raise


def _write(file: Path, state: dict[str, Any]) -> None:
    temporary = file.with_name(f".{file.name}.tmp")
    try:
        with naming_full_disk(), temporary.open("wb") as stream:
            torch.save(state, stream)
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    temporary.replace(file)


def _read(file: Path) -> dict[str, Any]:
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # torch raises many kinds of errors for a damaged file
        raise MagicError(
            f"{file}: the checkpoint is damaged ({type(error).__name__}); delete it; the one before is then used"
        ) from error


def take_weights(model: nn.Module, weights: dict[str, Any], file: Path) -> None:
    """Load the weights of a checkpoint into a model.

    Raises:
        MagicError: They belong to another model, or are not finite.
    """
    try:
        model.load_state_dict(weights)
        faults = number_faults(model)
    except RuntimeError as error:
        faults = strict_faults(error)
        if not faults:
            raise
    if faults:
        raise MagicError(
            f"{file}: the checkpoint does not fit the model ({faults[0].text}); delete it; the one before is then used"
        )


def replace_files(source: Path, target: Path) -> None:
    """Move every file of a folder into another folder, each atomically, and delete the first folder."""
    for file in sorted(source.iterdir()):
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
        file.replace(target / file.name)
    shutil.rmtree(source)
