"""Files and folders that a word of the command line names."""

from __future__ import annotations

import glob
import os
import stat
from pathlib import Path

from magic_cli.errors import MagicError, SettingsError

_KINDS = {
    stat.S_IFDIR: "folder",
    stat.S_IFIFO: "named pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}


def user_cache(name: str) -> Path:
    """Where this user's files of one kind are kept between runs: ``magic/<name>`` below XDG_CACHE_HOME, else below ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "magic" / name


def expanded(path: str | Path, setting: str = "") -> Path:
    """A path as the user typed it, with ``~`` and ``~name`` expanded.

    Args:
        path: The path.
        setting: What the user calls it, for the error message; "": nothing, a word of the command line.

    Raises:
        SettingsError: There is no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        user = Path(path).parts[0]
        place = f"{setting}={path}" if setting else str(path)
        raise SettingsError(
            f"{place}: there is no user {user[1:]!r} whose folder {user} could be; write ./{path} for a file of this name"
        ) from None


def named_paths(word: str, *, setting: str = "path") -> list[Path]:
    """What a path or a pattern (``*``, ``?``, ``**``) names, sorted; empty if there is no such thing. ``~`` is expanded.

    Raises:
        SettingsError: As ``expanded``.
    """
    path = expanded(word, setting)  # os.path, since pathlib raises where a name is too long
    return [path] if os.path.exists(path) else sorted(map(Path, glob.glob(str(path), recursive=True)))


def other_kind(path: Path) -> str | None:
    """What a path leads to that is no regular file: a folder, named pipe, socket or device; None if it is one. Links are followed.

    To read a pipe or a device may take for ever, so whoever opens a file that a user names asks here first.

    Raises:
        OSError: There is nothing, or it may not be looked at.
    """
    return _KINDS.get(stat.S_IFMT(os.stat(path).st_mode))


def make_output(folder: Path) -> None:
    """Make the folder that a command writes to, with its parents, where it is not there.

    Raises:
        MagicError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MagicError(f"output={folder}: cannot be written ({error.strerror}); set output to another folder") from error
