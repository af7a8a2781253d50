"""Files and folders that the user names."""

from __future__ import annotations

import glob
import os
import stat
from pathlib import Path, PurePath

from magic_cli.errors import MagicError, SettingsError

LOCK = ".lock"
"""The lock file of a folder that one process at a time may write."""
_PACKED = ".gz"
_KINDS = {
    stat.S_IFDIR: "folder",
    stat.S_IFIFO: "named pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}


_NO_HOME = "this user has no home folder (as in some containers); set HOME to a folder"


def cache_home() -> Path:
    """The folder of all that programs of this user keep between runs: XDG_CACHE_HOME or ~/.cache.

    Raises:
        MagicError: The user has no home.
    """
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute()
    except RuntimeError:
        raise MagicError(f"~/.cache: {_NO_HOME}") from None


def user_cache(name: str) -> Path:
    """The folder of this user's files of one kind, kept between runs: ``magic/<name>`` in ``cache_home``."""
    return cache_home() / "magic" / name


def expanded(path: str | Path, setting: str = "") -> Path:
    """A path as the user typed it, with ``~`` and ``~name`` expanded.

    Args:
        path: The path.
        setting: The setting that holds it, for the error message; "": it is a plain word of the command line.

    Raises:
        SettingsError: No user has this name, or this user has no home.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        user = Path(path).parts[0]
        place = f"{setting}={path}" if setting else str(path)
        if user == "~":
            raise SettingsError(f"{place}: {_NO_HOME}") from None
        raise SettingsError(
            f"{place}: there is no user {user[1:]!r} whose folder {user} could be; write ./{path} for a file of this name"
        ) from None


def named_paths(word: str, *, setting: str = "path") -> list[Path]:
    """The paths that a path or a pattern (``*``, ``?``, ``**``) names, sorted; empty if there are none. ``~`` is expanded.

    Raises:
        SettingsError: As ``expanded``.
    """
    path = expanded(word, setting)  # os.path, because pathlib raises if a name is too long
    return [path] if os.path.exists(path) else sorted(map(Path, glob.glob(str(path), recursive=True)))


def other_kind(path: Path) -> str | None:
    """What a path leads to if it is not a regular file: a folder, named pipe, socket or device; else None. Links are followed.

    Reading a pipe or a device may take for ever, so everything that opens a file named by the user checks this first.

    Raises:
        OSError: The path does not exist or cannot be examined.
    """
    return _KINDS.get(stat.S_IFMT(os.stat(path).st_mode))


def ending(path: PurePath) -> str:
    """The suffix that says in what form a file is, in small letters, without the ``.gz`` of a packed one.

    >>> [ending(PurePath(name)) for name in ("coco/Captions.JSON.gz", "texts.csv", "notes")]
    ['.json', '.csv', '']
    """
    return PurePath(unpacked_name(path)).suffix.lower()


def unpacked_name(path: PurePath) -> str:
    """The name of a file without the ``.gz`` of a packed one, in small letters or capitals.

    >>> unpacked_name(PurePath("coco/Captions.JSON.GZ"))
    'Captions.JSON'
    """
    return path.name[: -len(_PACKED)] if path.name.lower().endswith(_PACKED) else path.name


def make_output(folder: Path) -> None:
    """Make the folder that a command writes to, with its parents, if it does not exist.

    Raises:
        MagicError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MagicError(f"output={folder}: cannot be written ({error.strerror}); set output to another folder") from error
