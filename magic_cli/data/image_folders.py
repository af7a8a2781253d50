"""Finds the images below a folder, and tells the user about any that are left out.

Links to folders are followed; each folder is read once. A broken link, or a folder that cannot be read, may hide images. So it
is listed among the images, and fails when it is read.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from magic_cli.data.images import IMAGE_SUFFIXES
from magic_cli.terminal.wording import counted


@dataclass
class ImageFolder:
    """The content of a folder.

    Attributes:
        root: The folder.
        paths: The images, sorted; also broken links and folders that cannot be read.
        hidden: Images and folders whose names begin with a dot, which are left out. Files that macOS makes itself are not listed.
        not_followed: Links to folders that contain ``root``.
        others: Files of other kinds, counted by suffix.
    """

    root: Path
    paths: list[Path] = field(default_factory=list)
    hidden: list[Path] = field(default_factory=list)
    not_followed: list[Path] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)

    def notes(self) -> list[str]:
        """Notes for the user about everything that is left out."""
        notes = notes_of_others(str(self.root), self.others, self._below(self.hidden))
        if self.not_followed:
            notes.append(f"{self.root}: links to folders that hold it are not followed: {named(self._below(self.not_followed))}")
        return notes

    def _below(self, paths: list[Path]) -> list[str]:
        return [path.relative_to(self.root).as_posix() for path in paths]


def notes_of_others(root: str, others: Counter[str], hidden: list[str]) -> list[str]:
    """Notes for the user about files of other kinds, counted by suffix, and about hidden images and folders."""
    notes = []
    if others:
        listed = ", ".join(f"{count} {suffix}" for suffix, count in sorted(others.items()))
        notes.append(
            f"{root}: {counted(others.total(), 'file of another kind is', 'files of other kinds are')} left out ({listed})"
        )
    if hidden:
        notes.append(f"{root}: hidden images and folders are left out: {named(hidden)}")
    return notes


def named(files: Sequence[str]) -> str:
    """Files, in the words of a note.

    >>> named(["b.jpg", "a.jpg", "c.jpg"]), named(["a.jpg"])
    ('a.jpg and 2 more', 'a.jpg')
    """
    first, *others = sorted(files)
    return f"{first} and {len(others)} more" if others else first


def find_images(root: Path) -> ImageFolder:
    """Search a folder, its subfolders, and the folders that links in it lead to.

    Raises:
        OSError: The folder itself cannot be read.
    """
    found = ImageFolder(root)
    os.scandir(root).close()
    above = {_identity(folder) for folder in (root.resolve(), *root.resolve().parents)}
    seen: set[Any] = set()
    folders: list[Path] = [root]
    links: list[Path] = []
    while folders or links:
        if not folders:  # a photo found twice keeps the path without links
            links.sort(reverse=True)
            link = links.pop()
            if _identity(link) not in above:
                folders.append(link)
            elif _identity(link) != _identity(root):
                found.not_followed.append(link)
            continue
        folder = folders.pop()
        identity = _identity(folder)
        if identity in seen:
            continue
        seen.add(identity)
        for entry in _entries(folder, found):
            path = folder / entry.name
            if not _leads_to_folder(entry):
                _note_file(path, found)
            elif is_hidden(entry.name):
                found.hidden.append(path)
            else:
                (links if entry.is_symlink() else folders).append(path)
    found.paths.sort()
    return found


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is left out.

    >>> [is_hidden(name) for name in ("._cat.jpg", ".cat.jpg", "cat.jpg", "..")]
    [True, True, False, False]
    """
    return name.startswith(".") and name not in (".", "..")


def is_of_macos(name: str) -> bool:
    """Whether macOS itself makes files with such names (``._cat.jpg`` beside ``cat.jpg``), on disks of other systems."""
    return name.startswith("._")


def _entries(folder: Path, found: ImageFolder) -> Iterator[os.DirEntry[str]]:
    """The entries of a folder; if it cannot be read, it is added to the images."""
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError:
        found.paths.append(folder)


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that cannot be followed, or leads back to itself
        return False


def _note_file(path: Path, found: ImageFolder) -> None:
    suffix = path.suffix.lower()
    if is_hidden(path.name):
        if suffix in IMAGE_SUFFIXES and not is_of_macos(path.name):
            found.hidden.append(path)
    elif suffix in IMAGE_SUFFIXES or not suffix and os.path.islink(path) and not os.path.exists(path):  # once a link to a folder?
        found.paths.append(path)
    else:
        found.others[suffix or "no suffix"] += 1


def _identity(folder: Path) -> Any:
    """A value that is equal for two paths of the same folder."""
    try:
        facts = folder.stat()
    except OSError:
        return folder  # it cannot be read either, and is reported
    return facts.st_dev, facts.st_ino
