"""Exit statuses of a sweep's points, which may run in other processes: each is kept in a file of its own."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from pathlib import Path


class ExitStatuses:
    """Collects the statuses; it can be sent to another process, which must see the same files.

    Args:
        root: Folder below which they are kept while the sweep runs; None: they are kept in memory, all points run here.
    """

    def __init__(self, root: Path | None) -> None:
        self._statuses: list[int] = []
        self._folder: Path | None = None
        self._made: list[Path] = []
        if root is not None:
            root = root.absolute()  # a launcher may work in another folder
            self._made = [place for place in (root, *root.parents) if not place.exists()]
            root.mkdir(parents=True, exist_ok=True)
            self._folder = Path(tempfile.mkdtemp(prefix="statuses-", dir=root))

    def add(self, status: int) -> None:
        """Note the status of a point."""
        if self._folder is None:
            self._statuses.append(status)
        else:
            (self._folder / uuid.uuid4().hex).write_text(str(status))

    def worst(self) -> int:
        """The greatest status; 0 if there is none."""
        kept = [] if self._folder is None else [int(file.read_text()) for file in self._folder.iterdir()]
        return max([*self._statuses, *kept], default=0)

    def close(self) -> None:
        """Remove the files, and the folders made for them that are empty."""
        if self._folder is not None:
            shutil.rmtree(self._folder)
            for place in self._made:
                if any(place.iterdir()):
                    break
                place.rmdir()
