"""Finds the image file of each caption: at the path in the files, or below a folder by the names that also find references."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from magic_cli.data.image_lookup import ImageLookup
from magic_cli.data.image_names import aliases, contradicted
from magic_cli.data.images import StoredImage
from magic_cli.data.named_images import image_at
from magic_cli.data.references import ReferenceSet
from magic_cli.data.system import Item, System
from magic_cli.errors import SettingsError
from magic_cli.evaluation.matching import note_of_others


class FoundImages(NamedTuple):
    """The file of each item (None: no name is known), and notes for the user about how files were found."""

    files: tuple[Path | StoredImage | None, ...]
    notes: list[str]


def images_of_captions(
    system: System, items: Mapping[str, Item], references: ReferenceSet | None, folder: ImageLookup | None
) -> FoundImages:
    """The image files of a system's captions. One that is not found below the folder gets the path where it was expected.

    Args:
        system: The output of a captioner.
        items: Its caption for each id of the corpus.
        references: They may name images that the system does not.
        folder: The folder to search; None: the paths in the files.

    Raises:
        SettingsError: A name fits two files, two names find the same file, or an unreadable subfolder may hide missing files.
    """
    found: list[Path | StoredImage | None] = []
    owners: dict[Path, str] = {}
    others: list[tuple[str, str]] = []
    for target, item in items.items():
        if item.retrieved is not None:
            found.append(item.retrieved)
            continue
        names = _names(item, references, target, with_ids=folder is not None)
        if not names or folder is None:
            is_own = system.manifest is not None and names[:1] == [item.image]
            found.append(image_at(names[0], follows=is_own) if names else None)
            continue
        file = _find(system, names, folder)
        if file is not None and owners.setdefault(file, names[0]) != names[0]:
            raise SettingsError(
                f"images={folder.root}: {owners[file]!r} and {names[0]!r} of {system.source} both find {file}; write these names as their "
                "files are called, or leave out the caption whose image is not there"
            )
        found.append(file or folder.root / names[0])
        if (
            file is not None
            and file.is_relative_to(folder.root)
            and (other := _contradicted(names, file.relative_to(folder.root).as_posix()))
        ):
            others.append(other)
    if folder is not None and folder.unread and any(isinstance(file, Path) and not file.exists() for file in found):
        raise SettingsError(
            f"images={folder.root}: cannot read {', '.join(folder.unread)}; mend the permissions, or name another folder"
        )
    return FoundImages(tuple(found), note_of_others(others, f"another folder or suffix below {folder.root}") if folder else [])


def _contradicted(names: list[str], file: str) -> tuple[str, str] | None:
    """The name that found a file below the folder, and the file, if folder or suffix of the name differ from the file's."""
    name = next((name for name in names if contradicted(name, [file])), None)
    return None if name is None or any(file in aliases(other) for other in names) else (name, file)


def _names(item: Item, references: ReferenceSet | None, target: str, *, with_ids: bool) -> list[str]:
    """Names of an image's file. If there are none: ids (a story's is its title's) that the file may be named after, then guesses."""
    named = [name for name in (item.image, references.image_name(target) if references else None) if name]
    guessed = [name for name in (item.guessed_image, references.guessed_names.get(target) if references else None) if name]
    return named or [*([item.id, target] if with_ids and item.title is None else []), *guessed]


def _find(system: System, names: list[str], folder: ImageLookup) -> Path | None:
    for name in names:
        files = folder.find(name)
        if len(files) > 1:
            raise SettingsError(
                f"images={folder.root}: {name!r} of {system.source} fits {files[0]} and {files[1]}; name the folder of one of them, or "
                "write the names with their folders"
            )
        if files:
            return files[0]
    return None
