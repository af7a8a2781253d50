"""Image files below a folder, found by any of their names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from magic_cli.data.image_names import NamedImages, is_image_name
from magic_cli.errors import SettingsError


class ImageFolder:
    """The images below a folder. It is searched when the first image is not where its name says.

    Attributes:
        root: The folder.
        unread: Subfolders that could not be read, with the reason; filled by the search.
    """

    def __init__(self, folder: str) -> None:
        """Nothing is read yet.

        Args:
            folder: As the user typed it.

        Raises:
            SettingsError: There is no such folder.
        """
        self.root = Path(folder).expanduser()
        self.unread: list[str] = []
        if self.root.is_file():
            raise SettingsError(f"images={folder}: is a file; name the folder that holds it: --images {self.root.parent}")
        if not self.root.is_dir():
            raise SettingsError(f"images={folder}: no such folder (looked at {self.root.absolute()})")

    def find(self, name: str) -> tuple[Path, ...]:
        """The image files that a name fits: one, several if it does not tell them apart, or none.

        Args:
            name: A path below the folder, or any other name of an image (``data.image_names``). What is not found there, but lies
                where an absolute path says, is taken from there.
        """
        if not os.path.isabs(name) and os.path.isfile(self.root / name):
            return (self.root / name,)
        found = tuple(self.root / path for path in self._named.find(name))
        return found or ((Path(name),) if os.path.isabs(name) and os.path.isfile(name) else ())

    @cached_property
    def _named(self) -> NamedImages:
        return NamedImages((path, ()) for path in self._paths())

    def _paths(self) -> Iterator[str]:
        """Paths below the root, hidden ones left out; links to folders are followed once."""
        seen: set[tuple[int, int]] = set()
        for folder, subfolders, files in os.walk(self.root, followlinks=True, onerror=self._note):
            status = os.stat(folder)
            if (status.st_dev, status.st_ino) in seen:
                subfolders.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
            subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
            inner = Path(folder).relative_to(self.root)
            yield from ((inner / file).as_posix() for file in sorted(files) if is_image_name(file) and not file.startswith("."))

    def _note(self, error: OSError) -> None:
        self.unread.append(f"{error.filename} ({error.strerror})")
