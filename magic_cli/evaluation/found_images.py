"""The image file of each caption: where the files say, or below a folder, by the names that find references, too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from magic_cli.data.image_lookup import ImageLookup
from magic_cli.data.references import ReferenceSet
from magic_cli.data.system import Item, System
from magic_cli.errors import SettingsError


def find_images(
    system: System, items: Mapping[str, Item], references: ReferenceSet | None, folder: ImageLookup | None
) -> tuple[Path | None, ...]:
    """Image files of a system's captions; one that is not found below the folder stands there under the name that was looked for.

    Args:
        system: What a captioner wrote.
        items: Its caption of each id of the corpus.
        references: May name the images that the system does not.
        folder: Where they are looked for; None: where the files say.

    Returns:
        For each item its file; None: nobody names one.

    Raises:
        SettingsError: A name fits two files, two names find the same file, or a subfolder may hide what is missing.
    """
    found: list[Path | None] = []
    owners: dict[Path, str] = {}
    for target, item in items.items():
        if item.retrieved is not None:
            found.append(item.retrieved)
            continue
        names = _names(item, references, target, with_ids=folder is not None)
        if not names or folder is None:
            found.append(Path(names[0]) if names else None)
            continue
        file = _find(system, names, folder)
        if file is not None and owners.setdefault(file, names[0]) != names[0]:
            raise SettingsError(
                f"images={folder.root}: {owners[file]!r} and {names[0]!r} of {system.source} both find {file}; write these names as their "
                "files are called, or leave out the caption whose image is not there"
            )
        found.append(file or folder.root / names[0])
    if folder is not None and folder.unread and any(file is not None and not file.exists() for file in found):
        raise SettingsError(f"images={folder.root}: cannot read {', '.join(folder.unread)}; mend the permissions, or name another folder")
    return tuple(found)


def _names(item: Item, references: ReferenceSet | None, target: str, *, with_ids: bool) -> list[str]:
    """Names of an image's file or, for want of those, ids that its file may be called after (a story's id is its title's), then guesses."""
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
