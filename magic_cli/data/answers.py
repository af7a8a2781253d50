"""The texts and images that answer the steps of an item, beside the true answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from magic_cli.data.images import StoredImage
from magic_cli.data.named_images import image_at
from magic_cli.errors import MagicError


@dataclass(frozen=True)
class Answer:
    """The answer to one step, and the true answer if it is known."""

    text: str = ""
    """Empty: no text was written."""
    image: Path | None = None
    """None: no image was drawn."""
    true_text: str | None = None
    true_image: Path | StoredImage | None = None
    description: str | None = None
    """A description of the true image."""
    digest: str | None = None
    """SHA-256 of the drawn image."""

    @property
    def facts(self) -> tuple[str | None, ...]:
        """The values that scores depend on; the drawn image is represented by its content."""
        true_image = str(self.true_image) if self.true_image else None
        return (self.text, self.digest or (str(self.image) if self.image else None), self.true_text, true_image, self.description)


def answers_of(record: Mapping[str, Any], folder: Path, place: str) -> tuple[Answer, ...]:
    """The answers that ``magic interleave`` wrote for the steps of an item.

    Args:
        record: A line of its predictions.jsonl.
        folder: The run folder.
        place: The record, for error messages.

    Raises:
        MagicError: The record has another form.
    """
    steps = record.get("steps")
    if not isinstance(steps, list) or not steps:
        raise MagicError(f"{place}: steps must be a list of answers, got {str(steps)[:60]!r}")
    return tuple(_answer(step, folder, f"{place} step {number}") for number, step in enumerate(steps, start=1))


def _answer(step: Any, folder: Path, place: str) -> Answer:
    if not isinstance(step, Mapping) or not isinstance(step.get("text"), str):
        raise MagicError(f"{place}: must be an answer with a text, got {str(step)[:60]!r}")
    for key in ("image", "image_sha256"):
        if step.get(key) is not None and not isinstance(step[key], str):
            raise MagicError(f"{place}: {key} must be a text, got {str(step[key])[:60]!r}")
    texts, image, caption = _truth(step.get("target"), place)
    return Answer(
        text=step["text"],
        image=folder / step["image"] if step.get("image") else None,
        true_text=" ".join(texts) or None,
        true_image=image_at(image) if image else None,
        description=caption or " ".join(texts) or None,
        digest=step.get("image_sha256"),
    )


def _truth(parts: Any, place: str) -> tuple[Sequence[str], str | None, str | None]:
    """The texts, the image and the image's caption of a true answer."""
    if parts is None:
        return [], None, None
    if not isinstance(parts, list) or not all(
        isinstance(part, Mapping) and isinstance(part.get("text", part.get("image")), str) for part in parts
    ):
        raise MagicError(f"{place}: target must be a list of texts and images, got {str(parts)[:60]!r}")
    texts = [part["text"].strip() for part in parts if "text" in part]
    image: Mapping[str, Any] = next((part for part in parts if "image" in part), {})
    return texts, image.get("image"), image.get("caption")
