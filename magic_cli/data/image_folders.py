"""The images below a folder. If any is left out, the user is told.

Linked folders are followed, each folder is read once, and what may hide images (a broken link, a folder that may not be read)
stands among the images, to fail when its turn comes.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from magic_cli.data.images import IMAGE_SUFFIXES
from magic_cli.terminal.wording import counted


@dataclass
class ImageFolder:
    """What is below a folder.

    Attributes:
        root: The folder.
        paths: The images, sorted; with them broken links and folders that may not be read.
        hidden: Images and folders whose name begins with a dot, but for what macOS writes itself; they are left out.
        not_followed: Links to folders that hold ``root``.
        others: Files of other kinds, counted by suffix.
    """

    root: Path
    paths: list[Path] = field(default_factory=list)
    hidden: list[Path] = field(default_factory=list)
    not_followed: list[Path] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)

    def notes(self) -> list[str]:
        """What the user should know of all that is not among the images."""
        notes = []
        if self.others:
            listed = ", ".join(f"{count} {suffix}" for suffix, count in sorted(self.others.items()))
            notes.append(
                f"{self.root}: {counted(self.others.total(), 'file of another kind is', 'files of other kinds are')} left out ({listed})"
            )
        if self.hidden:
            notes.append(f"{self.root}: hidden images and folders are left out: {named(self._below(self.hidden))}")
        if self.not_followed:
            notes.append(f"{self.root}: links to folders that hold it are not followed: {named(self._below(self.not_followed))}")
        return notes

    def _below(self, paths: list[Path]) -> list[str]:
        return [path.relative_to(self.root).as_posix() for path in paths]


def named(files: list[str]) -> str:
    """Files as a note names them.

    >>> named(["b.jpg", "a.jpg", "c.jpg"]), named(["a.jpg"])
    ('a.jpg and 2 more', 'a.jpg')
    """
    first, *others = sorted(files)
    return f"{first} and {len(others)} more" if others else first


def find_images(root: Path) -> ImageFolder:
    """Look through a folder, the folders below it and those that links in it lead to.

    Raises:
        OSError: The folder itself cannot be read.
    """
    found = ImageFolder(root)
    os.scandir(root).close()
    above = {_identity(folder) for folder in (root.resolve(), *root.resolve().parents)}
    seen: set[Any] = set()
    folders, links = [root], []
    while folders or links:
        if not folders:  # a photo keeps the name that it has without links
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
    """Whether macOS makes files of such a name itself, for what other systems' disks cannot keep: ``._cat.jpg`` beside
    ``cat.jpg``."""
    return name.startswith("._")


def _entries(folder: Path, found: ImageFolder) -> Iterator[os.DirEntry[str]]:
    """What a folder holds; one that cannot be read stands among the images."""
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError:
        found.paths.append(folder)


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that may not be followed, or leads back to itself
        return False


def _note_file(path: Path, found: ImageFolder) -> None:
    suffix = path.suffix.lower()
    if is_hidden(path.name):
        if suffix in IMAGE_SUFFIXES and not is_of_macos(path.name):
            found.hidden.append(path)
    elif suffix in IMAGE_SUFFIXES or not suffix and os.path.islink(path) and not os.path.exists(path):  # perhaps once to a folder
        found.paths.append(path)
    else:
        found.others[suffix or "no suffix"] += 1


def _identity(folder: Path) -> Any:
    """Equal for two paths of one folder."""
    try:
        facts = folder.stat()
    except OSError:
        return folder  # it cannot be read either, and that is said
    return facts.st_dev, facts.st_ino
