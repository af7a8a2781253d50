"""Files and folders that a word of the command line names."""

from __future__ import annotations

import glob
from pathlib import Path


def named_paths(word: str) -> list[Path]:
    """What a path or a pattern (``*``, ``?``, ``**``) names, sorted; empty if there is no such thing. ``~`` is expanded."""
    path = Path(word).expanduser()
    return [path] if path.exists() else sorted(map(Path, glob.glob(str(path), recursive=True)))
