"""What is wrong with a model's files, found when they are loaded. The user gets one line; `magic doctor --model` shows
everything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from magic_cli.errors import MagicError

_SHOWN = 3


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong."""

    topic: str
    """``files``, ``weights``, ``numbers``, ``tokenizer`` or ``network``."""
    text: str
    remedy: str


class ModelFault(MagicError):
    """A model that must not be used as it is.

    Args:
        faults: At least one; the message is the first.
        place: The setting that names the model, as the user types it; loaders that do not know it leave it to ``loading.py``.
    """

    def __init__(self, faults: Sequence[Fault], place: str = "the model") -> None:
        self.faults = tuple(faults)
        first, *others = self.faults
        more = f" (and {len(others)} more: `magic doctor --model PLACE` shows all)" if others else ""
        super().__init__(f"{place}: {first.text}; {first.remedy}{more}")

    def at(self, place: str) -> ModelFault:
        """The same, with the place in its message."""
        return ModelFault(self.faults, place)


def refuse(faults: Sequence[Fault]) -> None:
    """Raise if there is any fault.

    Raises:
        ModelFault: There is.
    """
    if faults:
        raise ModelFault(faults)


def some(names: Sequence[str]) -> str:
    """The first few of many names.

    >>> some(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    >>> some(["a", "b"])
    'a, b'
    """
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
