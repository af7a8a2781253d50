"""Files and folders that a word of the command line names."""

from __future__ import annotations

import glob
import os
from pathlib import Path

from magic_cli.errors import MagicError


def user_cache(name: str) -> Path:
    """Where this user's files of one kind are kept between runs: ``magic/<name>`` below XDG_CACHE_HOME, else below ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "magic" / name


def named_paths(word: str) -> list[Path]:
    """What a path or a pattern (``*``, ``?``, ``**``) names, sorted; empty if there is no such thing. ``~`` is expanded."""
    path = Path(word).expanduser()
    return [path] if path.exists() else sorted(map(Path, glob.glob(str(path), recursive=True)))


def make_output(folder: Path) -> None:
    """Make the folder that a command writes to, with its parents, where it is not there.

    Raises:
        MagicError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MagicError(f"output={folder}: cannot be written ({error.strerror}); set output to another folder") from error
