"""Finds the images below a folder behind an address, as ``image_folders`` does on this machine."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from urllib.parse import unquote

from magic_cli.data.image_folders import is_hidden, is_of_macos, notes_of_others
from magic_cli.data.images import IMAGE_SUFFIXES
from magic_cli.data.listing import files_below
from magic_cli.data.place_names import WEB, below


@dataclass
class RemoteFolder:
    """The content of a folder behind an address.

    Attributes:
        root: The address.
        addresses: Of the images below it, by their paths there, sorted.
        hidden: Hidden images, or images in hidden folders, which are left out.
        others: Files of other kinds, counted by suffix.
    """

    root: str
    addresses: dict[str, str] = field(default_factory=dict)
    hidden: list[str] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)

    def notes(self) -> list[str]:
        """Notes for the user about everything that is left out."""
        return notes_of_others(self.root, self.others, self.hidden)


def find_remote_images(root: str, *, setting: str, hint: str) -> RemoteFolder:
    """Search a folder and its subfolders; on the web, what its own page links to.

    Arguments and errors are those of ``listing.files_below``.
    """
    found = RemoteFolder(root)
    for link in files_below(root, setting=setting, hint=hint):
        name = unquote(link) if root.startswith(WEB) else link
        path = PurePosixPath(name)
        suffix = path.suffix.lower()
        if any(map(is_hidden, path.parts)):
            found.hidden += [name] if suffix in IMAGE_SUFFIXES and not is_of_macos(path.name) else []
        elif suffix in IMAGE_SUFFIXES:
            found.addresses[name] = below(root, link)
        else:
            found.others[suffix or "no suffix"] += 1
    return found
