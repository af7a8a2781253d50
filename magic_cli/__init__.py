"""magic: image-guided text generation, from the command line and from Python.

>>> import magic_cli
>>> captioner = magic_cli.load()  # doctest: +SKIP
>>> print(captioner.caption("cat.jpg"))  # doctest: +SKIP
"""

TYPE_CHECKING = False  # nothing is imported here: Ctrl-C is looked after only when this module has been read
if TYPE_CHECKING:
    from typing import Any

    from magic_cli.api import (
        Candidate,
        Caption,
        Captioner,
        Comparison,
        Difference,
        Scores,
        Step,
        Story,
        StreamedStep,
        Text,
        compare,
        load,
        score,
    )
    from magic_cli.errors import MagicError, SettingsError

__version__ = "0.4.0"
_IN_ERRORS = ("MagicError", "SettingsError")
__all__ = [
    "Candidate", "Caption", "Captioner", "Comparison", "Difference", "MagicError", "Scores", "SettingsError", "Step", "Story",
    "StreamedStep", "Text", "compare", "load", "score",
]  # fmt: skip


def __getattr__(name: str) -> "Any":
    """Import a name of the API when it is first used, so that ``import magic_cli`` is fast."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("magic_cli.errors" if name in _IN_ERRORS else "magic_cli.api"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
