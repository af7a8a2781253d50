"""Which settings a command has, by the types of its settings classes: which of them hold text, and which is meant by a part of a name."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterable, Iterator
from dataclasses import is_dataclass
from functools import cache
from typing import Any

from magic_cli.errors import nearest

_SHOWN = 5


@cache
def known_settings(settings_class: type, groups: tuple[tuple[str, tuple[type, ...]], ...]) -> dict[str, bool]:
    """The full names of all settings, each with whether it holds text.

    Args:
        settings_class: Of the command.
        groups: The classes that a setting without a class of its own may have: (name, classes).
    """
    found: dict[str, bool] = {}
    for name, is_text in _walk(settings_class, "", dict(groups)):
        found[name] = found.get(name, True) and is_text  # of several methods' settings with this name, all must
    return found


def _walk(settings_class: type, prefix: str, groups: dict[str, tuple[type, ...]]) -> Iterator[tuple[str, bool]]:
    for name, kind in typing.get_type_hints(settings_class).items():
        if typing.get_origin(kind) is typing.ClassVar:
            continue
        name = f"{prefix}{name}"
        yield name, kind in (str, str | None)
        for inner in (kind,) if is_dataclass(kind) else groups.get(name, ()) if kind is Any else ():
            yield from _walk(inner, f"{name}.", groups)


def meant(typed: str, known: Iterable[str], siblings: Iterable[str]) -> str:
    """A hint for a setting that is not known: the settings that end as it does, else the nearest.

    Args:
        typed: What the user typed.
        known: Full names of the settings that there are.
        siblings: Names of the settings in the place that was named.

    >>> meant("spice.cache", ["metrics.spice.cache", "images"], ["images", "metrics"])
    'did you mean metrics.spice.cache?'
    >>> meant("k", ["captions.k", "stories.k"], [])
    'did you mean captions.k or stories.k?'
    >>> meant("spice.cahe", ["metrics.spice.cache", "images"], ["images", "metrics"])
    'did you mean metrics.spice.cache?'
    >>> meant("decoding.aplha", ["decoding.alpha", "decoding.k"], ["alpha", "k"])
    'did you mean alpha? (alpha, k)'
    >>> meant("decoding.temperature", ["decoding.k", "guides.memory.temperature"], ["k"])
    'allowed: k'
    """
    known, siblings, parts = list(known), list(siblings), typed.split(".")
    endings = [".".join(parts[start:]) for start in range(len(parts))]
    if not difflib.get_close_matches(parts[-1], siblings, n=1):  # a slip elsewhere
        endings += difflib.get_close_matches(parts[-1], [name.rpartition(".")[2] for name in known], n=1)
    for ending in endings:
        found = sorted(name for name in known if f".{name}".endswith(f".{ending}"))
        if "." not in ending and len(parts) > 1 and any(name.startswith(f"{parts[0]}.") for name in known):
            # the group is there: another may be meant, but no part of another
            found = [name for name in found if name.count(".") < len(parts)]
        if found:
            found = [name for name in found if name.count(".") == min(other.count(".") for other in found)]
            *others, last = found[:_SHOWN] + (["..."] if len(found) > _SHOWN else [])
            return f"did you mean {', '.join(others)} or {last}?" if others else f"did you mean {last}?"
    return nearest(parts[-1], siblings)
