"""The two file formats that other tools read (data/README.md describes them)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from magic_cli.data.records import ImageRecord


def coco_results(records: Sequence[ImageRecord], captions: Mapping[str, str]) -> list[dict[str, Any]]:
    """COCO's results format: ``[{"image_id", "caption"}]``."""
    return [
        {"image_id": record.id if record.image_id is None else record.image_id, "caption": captions[record.id]}
        for record in records
    ]


def released_format(records: Sequence[ImageRecord], captions: Mapping[str, str]) -> list[dict[str, Any]]:
    """The format of MAGIC's released files: ``[{"split", "image_name", "captions", "prediction"}]``."""
    return [
        {
            "split": record.split,
            "image_name": record.image_name,
            "captions": list(record.references),
            "prediction": captions[record.id],
        }
        for record in records
    ]
