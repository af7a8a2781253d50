"""torch.compile on request: found out to work on this machine before a model is given to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch

from magic_cli.errors import MagicError

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """``function`` (or module) through torch.compile, for lengths and batch sizes that change from call to call."""
    return cast("Function", torch.compile(function, dynamic=True))


def require_compiler(device: torch.device) -> None:
    """Compile and run three operations.

    Raises:
        MagicError: Something that torch.compile needs is missing; one line with what and the remedy.
    """
    try:
        torch.compile(lambda x: x.sin() * 2 + 1)(torch.ones(64, device=device))
    except Exception as error:  # the compiler's parts each raise their own
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
        needed = "a C++ compiler such as g++" if device.type == "cpu" else "Triton and a C compiler"
        raise MagicError(
            f"run.compile=true: torch.compile does not work here ({reason}); install {needed}, or set run.compile=false"
        ) from error
