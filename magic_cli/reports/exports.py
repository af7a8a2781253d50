"""The file formats that other tools read (docs/formats.md describes them)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from magic_cli.data.records import ImageRecord
from magic_cli.data.stories import StoryRecord

SEPARATOR = "<|endoftext|>"
"""Separates title and story in the released story files."""


def coco_results(records: Iterable[ImageRecord], captions: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """The entries of COCO's results format: ``[{"image_id", "caption"}]``."""
    for record in records:
        yield {"image_id": record.id if record.image_id is None else record.image_id, "caption": captions[record.id]}


def released_format(records: Iterable[ImageRecord], captions: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """The entries of MAGIC's released files: ``[{"split", "image_name", "captions", "prediction"}]``."""
    for record in records:
        yield {
            "split": record.split,
            "image_name": record.image_name,
            "captions": list(record.references),
            "prediction": captions[record.id],
        }


def released_stories(records: Sequence[StoryRecord], stories: Mapping[str, str], *, method: str) -> dict[str, Any]:
    """The format of MAGIC's released story files: for every title its stories by rank of the image, ``"0"`` for the best."""
    titles: dict[str, dict[str, Any]] = {}
    for record in records:
        prefix, story = f"{record.title} {SEPARATOR}", stories[record.id]
        entry = titles.setdefault(
            record.title_id,
            {"prefix_text": prefix, "reference_continuation_text": record.reference or "", "generated_result": {}},
        )
        image = {} if record.path is None else {"image_name": record.path.name}
        entry["generated_result"][str((record.rank or 1) - 1)] = {
            **image,
            "generated_continuation_text": story,
            "generated_full_text": f"{prefix} {story}",
        }
    return {"decoding_method": method, "evaluation_result": list(titles.values())}
