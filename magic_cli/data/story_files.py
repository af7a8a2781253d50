"""The authors' released story files: for every title a story by a person and the generated stories, by rank of the image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from magic_cli.data.system import Item, System
from magic_cli.errors import MagicError

_HINT = 'give a released story file: {"evaluation_result": [{"prefix_text", "reference_continuation_text", "generated_result": {"0": {...}}}, ...]}'
_STORY = "generated_continuation_text"


def is_story_file(document: Any) -> bool:
    """Whether a JSON document has the form of these files."""
    return isinstance(document, Mapping) and "evaluation_result" in document


def read_story_file(document: Mapping[str, Any], path: Path, name: str) -> System:
    """All stories of a file. Titles repeat, so a title's id is the number of its record.

    Raises:
        MagicError: The file has another form; names the record.
    """
    records = document["evaluation_result"]
    if not isinstance(records, list) or not records:
        raise MagicError(f"{path}: no evaluation_result with stories; {_HINT}")
    items: list[Item] = []
    for number, record in enumerate(records, start=1):
        try:
            human, generated, prefix = (
                record["reference_continuation_text"],
                dict(record["generated_result"]),
                record["prefix_text"],
            )
            stories = {int(rank) + 1: generated[rank][_STORY] for rank in generated}
        except (KeyError, TypeError, ValueError) as error:
            raise MagicError(f"{path} record {number}: not as expected ({error!r}); {_HINT}") from error
        if not all(isinstance(text, str) for text in (human, prefix, *stories.values())):
            raise MagicError(
                f"{path} record {number}: a story must be a text, got {str([human, *stories.values()])[:60]}; {_HINT}"
            )
        if not stories:
            raise MagicError(f"{path} record {number}: has no story; {_HINT}")
        title = prefix.partition("<|endoftext|>")[0].strip()
        for rank, story in stories.items():
            image = generated[str(rank - 1)].get("image_name")
            items.append(
                Item(
                    f"{number}#{rank}", story, (human,) if human else (),
                    image=image if isinstance(image, str) else None, title=title, rank=rank, title_id=str(number),
                )
            )  # fmt: skip
    return System(name, path, tuple(items))
