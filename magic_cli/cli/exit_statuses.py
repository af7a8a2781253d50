"""Exit statuses of the points of a sweep. They may run in other processes, so each status is kept in its own file."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from pathlib import Path


class ExitStatuses:
    """Collects the statuses. It can be sent to another process, which must see the same files.

    Args:
        root: Folder for the files while the sweep runs; None: all points run in this process, and memory is enough.
    """

    def __init__(self, root: Path | None) -> None:
        self._statuses: list[int] = []
        self._folder: Path | None = None
        self._made: list[Path] = []
        if root is not None:
            root = root.absolute()  # a launcher may use another working folder
            self._made = [place for place in (root, *root.parents) if not place.exists()]
            root.mkdir(parents=True, exist_ok=True)
            self._folder = Path(tempfile.mkdtemp(prefix="statuses-", dir=root))

    def add(self, status: int) -> None:
        """Record the status of a point."""
        if self._folder is None:
            self._statuses.append(status)
        else:
            (self._folder / uuid.uuid4().hex).write_text(str(status))

    def worst(self) -> int:
        """The greatest status; 0 if there is none."""
        kept = [] if self._folder is None else [int(file.read_text()) for file in self._folder.iterdir()]
        return max([*self._statuses, *kept], default=0)

    def close(self) -> None:
        """Delete the files, and folders made for them that are now empty."""
        if self._folder is not None:
            shutil.rmtree(self._folder)
            for place in self._made:
                if any(place.iterdir()):
                    break
                place.rmdir()
