"""The items to write texts for, as a run would have them, with images from anywhere."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from magic_cli.api.images import Picture, is_one, pictures
from magic_cli.data.images import StoredImage
from magic_cli.data.records import ImageRecord
from magic_cli.data.stories import StoryRecord, clean_title
from magic_cli.errors import SettingsError
from magic_cli.runs.choices import method_name


def caption_item(picture: Picture) -> ImageRecord:
    """The item for a caption."""
    return ImageRecord(id=picture.id, path=_path(picture) or Path(picture.id), image_name=picture.name)


def _path(picture: Picture) -> Path | StoredImage | None:
    """The file or address of an image; None: it is in memory."""
    return picture.source if isinstance(picture.source, Path | StoredImage) else None


def story_items(titles: Sequence[str], images: Any, settings: Any) -> tuple[list[StoryRecord], dict[str, Any]]:
    """The items for stories, and each one's image by id; ids are those of ``magic story --title --image``.

    Raises:
        MagicError: There is no title, or an image is missing.
    """
    if not titles:
        raise SettingsError("titles: there are none; give a title, or a list of them")
    looked_at: list[Picture | None] = [None] * len(titles)
    if settings.decoding.needs_image:
        if images is None:
            raise SettingsError(
                f"images: decoding={method_name(settings.decoding)} needs an image for each title; give them, or choose a method that needs none, such as contrastive"
            )
        given = pictures(images)
        looked_at = [*given] * len(titles) if is_one(images) else [*given]
        if len(looked_at) != len(titles):
            raise SettingsError(
                f"images: there must be one for each of the {len(titles)} titles, or one for all, got {len(looked_at)}"
            )
    elif images is not None:
        warnings.warn(
            f"decoding={method_name(settings.decoding)} looks at no image: a story is written for each title alone", stacklevel=3
        )
    items: list[StoryRecord] = []
    sources: dict[str, Any] = {}
    for title, picture in zip(titles, looked_at, strict=True):
        if not isinstance(title, str):
            raise SettingsError(f"titles: must be texts, got {title!r}")
        title = clean_title(title, "titles")
        number = 1 + sum(item.title == title for item in items)
        title_id = title if number == 1 else f"{title} ({number})"
        if picture is None:
            items.append(StoryRecord(title_id, title_id, title))
        else:
            path = _path(picture) or (Path(picture.name) if picture.name else None)
            items.append(StoryRecord(f"{title_id}#1", title_id, title, path=path, rank=1))
            sources[items[-1].id] = picture.source
    return items, sources
