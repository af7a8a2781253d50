"""Finds image files below a folder by any of their names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from magic_cli.data.image_folders import find_images
from magic_cli.data.image_names import NamedImages
from magic_cli.data.paths import expanded
from magic_cli.data.place_names import is_address
from magic_cli.errors import SettingsError


class ImageLookup:
    """The images below a folder. The folder is searched once an image is not at the path that its name gives.

    Attributes:
        root: The folder.
        unread: Subfolders that could not be read, with the reason; filled by the search.
    """

    def __init__(self, folder: str) -> None:
        """Remember the folder; nothing is read yet.

        Args:
            folder: The folder as the user typed it.

        Raises:
            SettingsError: The folder does not exist.
        """
        if is_address(folder):
            raise SettingsError(
                f"images={folder}: a folder is searched on this machine only; leave --images out where the files name their images by addresses"
            )
        self.root = expanded(folder, "images")
        self.unread: list[str] = []
        if os.path.isfile(self.root):
            raise SettingsError(f"images={folder}: is a file; name the folder that holds it: --images {self.root.parent}")
        if not os.path.isdir(self.root):
            raise SettingsError(f"images={folder}: no such folder (looked at {self.root.absolute()})")

    def find(self, name: str) -> tuple[Path, ...]:
        """The image files that match a name: one, none, or several if the name is ambiguous.

        Args:
            name: A path below the folder, or any other name of an image (see ``data.image_names``). If nothing is found there,
                an absolute path of an existing file is taken as it is.
        """
        if not os.path.isabs(name) and os.path.isfile(self.root / name):
            return (self.root / name,)
        found = tuple(self.root / path for path in self._named.find(name))
        return found or ((Path(name),) if os.path.isabs(name) and os.path.isfile(name) else ())

    @cached_property
    def _named(self) -> NamedImages:
        return NamedImages((path, ()) for path in self._paths())

    def _paths(self) -> Iterator[str]:
        """Paths of images below the root."""
        for path in find_images(self.root).paths:
            if path.is_dir():
                self._note(path)
            elif os.path.isfile(path):
                yield path.relative_to(self.root).as_posix()

    def _note(self, folder: Path) -> None:
        try:
            os.scandir(folder).close()
        except OSError as error:
            self.unread.append(f"{folder} ({error.strerror})")
