"""Reads VIST's stories: the original story-in-sequence annotations, and the layout of MiniGPT-5's released code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from magic_cli.data.image_folders import find_images
from magic_cli.data.json_files import read_json, whole_characters
from magic_cli.data.paths import expanded
from magic_cli.errors import MagicError

HINT = "set dataset.annotations to VIST's train|val|test.story-in-sequence.json, or to the released layout's val_cleaned.json (data/README.md)"
_TIER = "story-in-sequence"
_CLEANED, _MAPPING = "cleaned", "image_mapping"


@dataclass(frozen=True)
class Scene:
    """One scene of a story."""

    index: int
    """Its position, from 0."""
    text: str
    image_id: str


FindImage = Callable[[str], Path | str]
"""Maps the id of an image to its file, or to the reason why there is none."""


def read_stories(path: Path, *, original: bool) -> tuple[dict[str, list[Scene]], bool]:
    """The stories of a file, each with its scenes in order.

    Args:
        path: The file.
        original: Original annotations only: true: the text as it was typed; false: in lower case with names replaced.

    Returns:
        Stories by id, in the file's order, and whether the file has the released layout.

    Raises:
        MagicError: The file has another form, or a scene is malformed; names the story.
    """
    document = read_json(path, setting="dataset.annotations", hint=HINT)
    place = f"dataset.annotations={path}"
    if not isinstance(document, dict) or not document:
        raise MagicError(f"{place}: holds no stories; {HINT}")
    is_released = "annotations" not in document
    try:
        rows = (
            _released_rows(document, place)
            if is_released
            else _official_rows(document["annotations"], place, "original_text" if original else "text")
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        problem = f"no key {error}" if isinstance(error, KeyError) else str(error)
        raise MagicError(f"{place}: not as expected ({problem}); {HINT}") from error
    return {story: _ordered(scenes, f"{place} story {story}") for story, scenes in rows.items()}, is_released


def _official_rows(annotations: Any, place: str, text: str) -> dict[str, list[Scene]]:
    """The scenes of each story. Each annotation is a list of one object, because other tiers of VIST have several."""
    stories: dict[str, list[Scene]] = {}
    for number, entry in enumerate(annotations, start=1):
        [row] = entry if isinstance(entry, list) else [entry]
        if row.get("tier", _TIER) != _TIER:
            raise MagicError(
                f"{place} annotation {number}: is of the tier {str(row['tier'])[:60]!r}, and stories are of {_TIER}; {HINT}"
            )
        scene = Scene(int(row["worker_arranged_photo_order"]), whole_characters(row[text]), str(row["photo_flickr_id"]))
        stories.setdefault(str(row["story_id"]), []).append(scene)
    return stories


def _released_rows(document: Mapping[str, Any], place: str) -> dict[str, list[Scene]]:
    stories = {}
    for story, scenes in document.items():
        if not isinstance(scenes, list):
            raise MagicError(f"{place} story {story[:60]}: must be a list of scenes, got {str(scenes)[:60]!r}; {HINT}")
        stories[story] = [
            Scene(int(scene["sequence_index"]), whole_characters(scene["caption"]), str(scene["image_id"])) for scene in scenes
        ]
    return stories


def _ordered(scenes: list[Scene], place: str) -> list[Scene]:
    indexes = [scene.index for scene in scenes]
    if len(set(indexes)) < len(indexes):
        raise MagicError(f"{place}: two scenes have the place {max(indexes, key=indexes.count)}; download the file again")
    return sorted(scenes, key=lambda scene: scene.index)


def mapped_images(annotations: Path, root: Path, mapping: str | None) -> FindImage:
    """A function that finds images of the released layout; a second file gives the path of each image.

    Args:
        annotations: The first file. If ``mapping`` is None, the second has the same name with ``image_mapping`` for ``cleaned``.
        root: Folder that the paths start from.
        mapping: The second file.

    Raises:
        MagicError: The second file is missing or malformed.
    """
    hint = "in the released layout it is beside the stories; name it with dataset.mapping=FILE"
    file = expanded(mapping) if mapping else annotations.with_name(annotations.name.replace(_CLEANED, _MAPPING))
    if file == annotations:
        raise MagicError(
            f"dataset.mapping is not set, and {annotations.name} has no {_CLEANED!r} in its name to find it by; {hint}"
        )
    places = read_json(file, setting="dataset.mapping", hint=hint)
    if not isinstance(places, dict) or not all(isinstance(place, str) for place in places.values()):
        raise MagicError(f'dataset.mapping={file}: must be {{"image id": "path", ...}}, got {str(places)[:60]!r}; {hint}')

    def find(image_id: str) -> Path | str:
        place = places.get(image_id)
        if place is None:
            return f"{file.name} has no place for image {image_id}"
        return root / place if (root / place).is_file() else f"no image {root / place}"

    return find


def named_images(root: Path) -> FindImage:
    """A function that finds images named after their ids, anywhere below a folder.

    Raises:
        MagicError: The folder cannot be read.
    """
    try:
        files = {path.stem: path for path in reversed(find_images(root).paths)}
    except OSError as error:
        raise MagicError(
            f"dataset.root={root}: cannot be read ({error.strerror}); set it to the folder of VIST's images"
        ) from error
    return lambda image_id: files.get(image_id) or f"no image {image_id}.* below {root}"
