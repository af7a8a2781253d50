"""The files that a path, a pattern, a folder or an address names."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from magic_cli.data.addresses import file_system, named_place, told
from magic_cli.data.paths import expanded, named_paths
from magic_cli.data.place_names import WEB, is_address, local, name_of, path_of, with_quoted_query
from magic_cli.errors import MagicError

_OTHER_KIND = re.compile(r"[a-z]+:", re.IGNORECASE)
"""Of links such as ``mailto:``, which name no file."""


def places(word: str, suffix: str, *, setting: str, hint: str) -> list[str]:
    """The files that a path, a pattern, a folder or an address names, sorted.

    Args:
        word: As the user typed it.
        suffix: Of the files of a folder that count, such as ``.tar``.
        setting: What the user calls it.
        hint: What to do if there is none.

    Raises:
        MagicError: It names nothing, or cannot be looked at.
    """
    word = with_quoted_query(local(word))
    found = _remote_places(word, suffix, setting, hint) if is_address(word) else _local_places(word, suffix, setting)
    if not found:
        place = "" if is_address(word) else str(expanded(word, setting).absolute())
        problem = f"no such file{place and f' (looked at {place})'}"
        if os.path.isdir(place):
            problem = f"holds no {suffix} file" if os.access(place, os.R_OK) else "cannot be read (mend its permissions)"
        raise MagicError(f"{named_place(word, setting)}: {problem}; {hint}")
    return found


def _local_places(word: str, suffix: str, setting: str) -> list[str]:
    found = []
    for path in named_paths(word, setting=setting):
        path = path.absolute()
        found += sorted(path.glob(f"*{suffix}")) if path.is_dir() else [path]
    return [str(path) for path in found]


def _remote_places(word: str, suffix: str, setting: str, hint: str) -> list[str]:
    system, path = file_system(word, setting)
    with _looking_at(word, setting, hint):
        if _is_pattern(word, path):
            found = system.glob(path)
        elif not (word.startswith(WEB) and name_of(word).endswith(suffix)) and system.isdir(path):  # the web would send the file
            found = system.glob(f"{path.rstrip('/')}/*{suffix}")
        else:
            found = [path] if system.exists(path) else []
        return sorted(system.unstrip_protocol(one) for one in found)


def matches(word: str, *, hint: str) -> list[str]:
    """The places that an address names: itself, or those that fit its pattern, sorted.

    Args:
        word: The address, a word of the command line.
        hint: What to do if nothing fits.

    Raises:
        MagicError: Nothing fits, or it cannot be looked at.
    """
    system, path = file_system(word)
    if not _is_pattern(word, path):
        return [word]
    return places(word, "", setting="", hint=hint)


def files_below(folder: str, *, setting: str, hint: str) -> list[str]:
    """Paths of all files below a folder behind an address, sorted; on the web, of those that the folder's own page links to.

    Args:
        folder: Its address.
        setting: What the user calls it; "": it is a plain word of the command line.
        hint: What to do if it is no folder.

    Raises:
        MagicError: It is no folder, or cannot be looked at.
    """
    system, path = file_system(folder, setting)
    with _looking_at(folder, setting, hint):
        if folder.startswith(WEB):
            return _links(folder, [entry["name"] for entry in system.ls(path, detail=True) if entry["type"] == "file"])
        if not system.isdir(path):
            raise FileNotFoundError(folder)
        found = system.find(path)
    start = f"{path.rstrip('/')}/"
    return sorted(one.removeprefix(start) for one in found if one.startswith(start))


def _links(folder: str, found: Sequence[str]) -> list[str]:
    """What a page of the web links to below its own address, which may have a query and be linked to by either kind of address."""
    starts = [start.rstrip("/").partition("://")[2] + "/" for start in (folder, path_of(folder))]
    names = set()
    for place in found:
        inner = place.partition("://")[2]
        name = next((inner.removeprefix(start) for start in starts if inner.startswith(start)), "").removeprefix("./")
        if name and name[0] not in "?#" and not name.startswith("../") and not _OTHER_KIND.match(name):
            names.add(name)
    return sorted(names)


@contextmanager
def _looking_at(word: str, setting: str, hint: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise MagicError(f"{named_place(word, setting)}: no such file or folder; {hint}") from None
    except Exception as error:  # each file system has errors of its own
        raise MagicError(
            f"{named_place(word, setting)}: cannot be looked at ({told(error)}); check address, network and access"
        ) from error


def _is_pattern(word: str, path: str) -> bool:
    """Whether a path of a file system is a pattern; in a web address ``?`` begins a query, and ``[`` may be of the host."""
    if not word.startswith(WEB):
        return glob.has_magic(path)
    return any(sign in path_of(word).split("/", 3)[-1] for sign in "*[")
