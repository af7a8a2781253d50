"""Stories of several systems for the same titles: run folders of ``magic story``, released story files and JSON lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from magic_cli.data.images import StoredImage, digest_of
from magic_cli.data.json_files import read_records
from magic_cli.data.named_images import image_at
from magic_cli.data.predictions import records_of, system_name
from magic_cli.data.record_fields import first_key, item_id
from magic_cli.data.story_files import is_story_file, read_story_file
from magic_cli.data.system import Item as Written
from magic_cli.errors import MagicError, SettingsError
from magic_cli.human_eval.sources import label_of, named_sources, records_of_run, refuse_same_names

HUMAN = "human"
_HINT = 'give a run folder of magic story, a released story file, or JSON lines {"id", "title", "image"?, "story"}'
_BEST_RANK = 1


@dataclass(frozen=True)
class Story:
    """One system's story for one title."""

    title: str
    text: str
    id: str | None = None
    """The title's id; None: the file has none."""
    image: str | None = None
    """The photo that the file names; None: none."""
    reference: str | None = None
    """The story that a person wrote for the title; None: not in the file."""


@dataclass(frozen=True)
class StorySystem:
    """One system's stories."""

    name: str
    source: Path
    stories: tuple[Story, ...]


@dataclass(frozen=True)
class Item:
    """A title with every system's story."""

    id: str
    title: str
    stories: dict[str, str]
    """Stories by system name."""
    images: tuple[tuple[Path, str], ...] = ()
    """The photos that the systems' files name, each with the file that names it."""


def read_systems(files: Sequence[str], named: Sequence[str], *, human: bool) -> list[StorySystem]:
    """Read all systems that the user names.

    Args:
        files: Run folders and files, named after the file.
        named: ``NAME=FILE``.
        human: Add the stories by people from the first file that holds them.

    Raises:
        MagicError: A file is not a story file, or two systems have the same name.
    """
    systems = [_read_system(file, name) for file, name in named_sources(files, named)]
    if human:
        systems.append(_human(systems))
    refuse_same_names(systems)
    if len(systems) < 2:
        raise SettingsError(
            f"only {systems[0].source} to judge; name two systems or more, or add --human, so that there is something to compare"
        )
    return systems


def match(systems: Sequence[StorySystem]) -> tuple[list[Item], int]:
    """The titles for which every system has a story, in the first system's order.

    Args:
        systems: At least one.

    Returns:
        The titles, and how many were left out because a system lacks them. Titles are matched by id if all stories have
        one, else by their text; titles that appear twice are then left out.

    Raises:
        MagicError: No title is left, or one id has two titles.
    """
    by_id = all(story.id is not None for system in systems for story in system.stories)
    tables = [_by_key(system, by_id) for system in systems]
    shared = [key for key in tables[0] if all(key in table for table in tables)]
    if not shared:
        names, same = ", ".join(system.name for system in systems), "ids" if by_id else "titles (not every file has ids)"
        raise MagicError(f"no title has a story of every system ({names}); the files must have the same {same}")
    items = []
    for key in shared:
        found = {system.name: table[key] for system, table in zip(systems, tables, strict=True)}
        titles = {name: story.title for name, story in found.items()}
        if len(set(titles.values())) > 1:
            named = "; ".join(f"{name}: {title}" for name, title in titles.items())
            raise MagicError(f"id {key!r} has different titles ({named}); these files are not about the same titles")
        images = tuple((system.source, image) for system in systems if (image := found[system.name].image) is not None)
        items.append(Item(key, found[systems[0].name].title, {name: story.text for name, story in found.items()}, images))
    return items, len(set().union(*({_key(s, by_id) for s in system.stories} for system in systems))) - len(shared)


def find_photo(item: Item, *, images: Path | None, may_lack: bool) -> Path | StoredImage | None:
    """The photo beside which all stories of a title are judged. Systems that look at no image name none.

    Args:
        item: The title.
        images: Folder of the photos; None: the paths in the files.
        may_lack: Treat a missing photo as if none were named.

    Raises:
        MagicError: The photo does not exist, or the files name different photos.
    """
    found: dict[Path | StoredImage, Path] = {}
    for source, name in item.images:
        image = image_at(name, follows=source.is_dir())
        places = [images / name, images / image.name] if images else [image, _folder(source) / name]
        photo = next((place for place in places if _is_photo(place)), None)
        if photo is not None:
            found.setdefault(photo.resolve(), source)
        elif not may_lack:
            looked = " and ".join(dict.fromkeys(str(place.absolute()) for place in places))
            raise MagicError(
                f"{source}, id {item.id!r}: no photo {name} (looked at {looked}); name its folder with --images, or set missing_photos=without"
            )
    if len(found) > 1 and len(set(map(digest_of, found))) > 1:
        named = "; ".join(f"{source}: {photo}" for photo, source in found.items())
        raise MagicError(
            f"id {item.id!r}: the systems' photos differ ({named}); all stories of a title are judged beside one photo"
        )
    return next(iter(found), None)


def _is_photo(place: Path | StoredImage) -> bool:
    return place.exists() if isinstance(place, StoredImage) else place.is_file()


def _key(story: Story, by_id: bool) -> str:
    return story.id if by_id and story.id is not None else story.title


def _by_key(system: StorySystem, by_id: bool) -> dict[str, Story]:
    counts = Counter(_key(story, by_id) for story in system.stories)
    repeated = [key for key, count in counts.items() if count > 1]
    if repeated and by_id:
        raise MagicError(
            f"{system.source}: the id {repeated[0]!r} appears {counts[repeated[0]]} times; keep one story for each title"
        )
    return {_key(story, by_id): story for story in system.stories if counts[_key(story, by_id)] == 1}


def _folder(source: Path) -> Path:
    return source if source.is_dir() else source.parent


def _human(systems: Sequence[StorySystem]) -> StorySystem:
    for system in systems:
        if all(story.reference for story in system.stories):
            return StorySystem(HUMAN, system.source, tuple(Story(s.title, s.reference or "", s.id) for s in system.stories))
    raise SettingsError("--human: no file holds a person's story for every title; add them as --system human=FILE")


def _read_system(path: Path, name: str | None) -> StorySystem:
    if path.is_dir():
        records = records_of_run(path, _HINT)
        if records and "steps" in records[0]:
            raise MagicError(f"{path}: is a run of magic interleave; its texts and images are compared in pairs: set kind=pairs")
        document: Any = [one for one in records if one.get("story") != ""]  # items with nothing written are left out and counted
    else:
        document = read_records(path, setting="files", hint=_HINT)
    if is_story_file(document):
        stories = tuple(_released(read_story_file(document, path, system_name(path)).items, path))
    else:
        stories = tuple(_plain(document, path))
    if not stories:
        raise MagicError(f"{path}: holds no stories; {_HINT}")
    return StorySystem(label_of(path, name), path, stories)


def _released(items: Sequence[Written], path: Path) -> Iterator[Story]:
    """The stories of a released file. Its record numbers are not ids, because other files do not share them."""
    for item in items:
        if item.rank == _BEST_RANK:
            place = f"{path} record {item.title_id}"
            title, text = _text({"title": item.title}, "title", place), _text({"story": item.text}, "story", place)
            yield Story(title, text, None, item.image, next(iter(item.references), None))


def _plain(document: Any, path: Path) -> Iterator[Story]:
    for number, record in enumerate(records_of(document, path), start=1):
        place = f"{path} record {number}"
        if record.get("rank", _BEST_RANK) != _BEST_RANK:  # a story for another image of the same title
            continue
        key = first_key(record, ("title_id", "id"))
        image, reference = record.get("image"), record.get("reference")
        yield Story(
            _text(record, "title", place), _text(record, "story", place), None if key is None else item_id(record[key], f"{place}: {key}"),
            image if isinstance(image, str) else None, reference if isinstance(reference, str) else None,
        )  # fmt: skip


def _text(record: Mapping[str, Any], key: str, place: str) -> str:
    value = record.get(key)
    if not isinstance(value, str) or not value.strip():
        what = f"has no {key}" if value is None else f"{key} must be a text that is not empty, got {str(value)[:60]!r}"
        raise MagicError(f"{place}: {what}; {_HINT}")
    return " ".join(value.split())
