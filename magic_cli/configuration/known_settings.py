"""The settings of a command, from the types of its settings classes: which hold text, and which one a partial name means."""

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
    """The full names of all settings; the value says whether a setting holds text.

    Args:
        settings_class: The class of the command's settings.
        groups: For settings whose class depends on a choice: (name, possible classes).
    """
    found: dict[str, bool] = {}
    for name, is_text in _walk(settings_class, "", dict(groups)):
        found[name] = found.get(name, True) and is_text  # if several methods have this setting, it must be text in all of them
    return found


def _walk(settings_class: type, prefix: str, groups: dict[str, tuple[type, ...]]) -> Iterator[tuple[str, bool]]:
    for name, kind in typing.get_type_hints(settings_class).items():
        if typing.get_origin(kind) is typing.ClassVar:
            continue
        name = f"{prefix}{name}"
        yield name, kind in (str, str | None)
        for inner in (kind,) if isinstance(kind, type) and is_dataclass(kind) else groups.get(name, ()) if kind is Any else ():
            yield from _walk(inner, f"{name}.", groups)


def meant(typed: str, known: Iterable[str], siblings: Iterable[str]) -> str:
    """A hint for an unknown setting: known settings with the same ending, else the nearest name.

    Args:
        typed: What the user typed.
        known: Full names of the known settings.
        siblings: Names of the settings in the group that the user named.

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
    >>> meant("dataset.root", ["dataset.files", "run.report"], ["files"])
    'allowed: files'
    """
    known, siblings, parts = list(known), list(siblings), typed.split(".")
    endings = [".".join(parts[start:]) for start in range(len(parts))]
    if not difflib.get_close_matches(parts[-1], siblings, n=1):  # the typing mistake is in an earlier part
        # in a group that exists the last part may be mistyped, too, but another group is not meant
        near = [name for name in known if len(parts) > 1 and name.startswith(f"{parts[0]}.")] or known
        endings += difflib.get_close_matches(parts[-1], [name.rpartition(".")[2] for name in near], n=1)
    for ending in endings:
        found = sorted(name for name in known if f".{name}".endswith(f".{ending}"))
        if "." not in ending and len(parts) > 1 and any(name.startswith(f"{parts[0]}.") for name in known):
            # the group exists: another group may be meant, but not a part of another name
            found = [name for name in found if name.count(".") < len(parts)]
        if found:
            found = [name for name in found if name.count(".") == min(other.count(".") for other in found)]
            *others, last = found[:_SHOWN] + (["..."] if len(found) > _SHOWN else [])
            return f"did you mean {', '.join(others)} or {last}?" if others else f"did you mean {last}?"
    return nearest(parts[-1], siblings)
