"""One training session: sets device, threads and processes, and locks the run folder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from magic_cli.errors import SettingsError
from magic_cli.models.loading import resolve_device
from magic_cli.models.threads import use_threads
from magic_cli.reports.plots import check_plotting
from magic_cli.training.folder import TrainingFolder
from magic_cli.training.task import TrainingSettings

if TYPE_CHECKING:
    from accelerate import Accelerator

_DEVICE = "ACCELERATE_TORCH_DEVICE"
_PRECISION = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}


def in_session(
    settings: TrainingSettings, folder: TrainingFolder, carry_out: Callable[[Accelerator], dict[str, Any] | None]
) -> dict[str, Any] | None:
    """Do a run in its folder, or finish it.

    Args:
        settings: Settings of the command.
        folder: The run folder; the first process locks it.
        carry_out: Does the work in every process; returns the report in the first.

    Returns:
        The report; None in processes other than the first, and if the run was already complete.

    Raises:
        MagicError: The user has to mend something.
    """
    check_plotting("the curve of the training")
    use_threads(settings.run.threads)
    accelerator = make_accelerator(settings, folder.path)
    with contextlib.ExitStack() as stack:
        if accelerator.is_main_process:
            stack.enter_context(folder)
        accelerator.wait_for_everyone()
        if not accelerator.is_main_process:
            folder.look()
        return None if folder.is_complete else carry_out(accelerator)


def make_accelerator(settings: TrainingSettings, project: Path = Path(".")) -> Accelerator:
    """The accelerator for a run's device, precision and trackers; ``accelerate launch`` adds more processes.

    Raises:
        SettingsError: A device or tracker does not exist, or accumulation cannot be divided among the processes.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from accelerate.tracking import get_available_trackers

    device = resolve_device(settings.run.device)
    known = sorted(str(getattr(tracker, "value", tracker)) for tracker in get_available_trackers())
    for name in settings.run.trackers:
        if name not in known:
            raise SettingsError(
                f"run.trackers: {name!r} is not installed here (installed: {', '.join(known) or 'none'}); pip install {name}"
            )
    AcceleratorState._reset_state(reset_partial_state=True)  # forget device and precision of an earlier point of a sweep
    with _naming(device):
        accelerator = Accelerator(
            cpu=device.type == "cpu", mixed_precision=_PRECISION[settings.run.dtype.value], log_with=settings.run.trackers or None,
            project_dir=str(project),
        )  # fmt: skip
    if settings.run.accumulation % accelerator.num_processes:
        raise SettingsError(
            f"run.accumulation must be a multiple of the {accelerator.num_processes} processes, got {settings.run.accumulation}"
        )
    return accelerator


@contextlib.contextmanager
def _naming(device: torch.device) -> Iterator[None]:
    """Tell ``accelerate`` which CUDA device to use, if one is chosen."""
    if device.type != "cuda" or device.index is None:
        yield
        return
    before = os.environ.get(_DEVICE)
    os.environ[_DEVICE] = str(device)
    try:
        yield
    finally:
        del os.environ[_DEVICE]
        if before is not None:
            os.environ[_DEVICE] = before
