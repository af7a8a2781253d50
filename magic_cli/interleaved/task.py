"""Texts and images in turn as a kind of text: items, their records, and what stdout and the page show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magic_cli.data.images import StoredImage, digest_of
from magic_cli.data.interleaved import InterleavedItem, Part, Step
from magic_cli.data.stored_images import is_same_address
from magic_cli.interleaved.prompts import step_prompt
from magic_cli.interleaved.run_settings import DrawFrom, History, InterleaveSettings, PageKind
from magic_cli.reports.interleaved import interleaved_page
from magic_cli.runs.folder import PAGE
from magic_cli.runs.kinds import Unwritable, WritingTask
from magic_cli.runs.naming import run_folder

if TYPE_CHECKING:
    from magic_cli.interleaved.drawers import Answer


class InterleavedTask(WritingTask[InterleavedItem]):
    """A text, an image or both for every step of every item."""

    text, texts, unit = "text", "texts with images", "item"
    changed = (
        "item has changed since it was written and is written again",
        "items have changed since they were written and are written again",
    )
    dropped = (
        "item is no longer in the items; its text is moved to",
        "items are no longer in the data set; their texts are moved to",
    )
    untraced = ("item was written without trace earlier", "items were written without trace earlier")
    failed = ("item could not be written", "items could not be written")

    def __init__(self, settings: InterleaveSettings) -> None:
        self.settings = settings
        self.folder = run_folder(settings)

    def items(self) -> list[InterleavedItem]:
        return self.settings.dataset.load()

    def facts(self, items: Sequence[InterleavedItem]) -> dict[str, Any]:
        return {"steps": sum(len(item.steps) for item in items)}

    def notes(self) -> list[str]:
        return []

    def images(self, item: InterleavedItem) -> list[Path | StoredImage]:
        """The images in its prompts that exist before the item is written."""
        if not self.looks_at_images:
            return []
        found: dict[Path | StoredImage, None] = {}
        for number in range(len(item.steps)):
            answers = [self.settled(item, place) for place in range(number)]
            pieces = step_prompt(item, number, answers, self.settings.context, self.settings.prompt)
            found |= dict.fromkeys(piece for piece in pieces if not isinstance(piece, str))
        return list(found)

    @property
    def looks_at_images(self) -> bool:
        """Whether the run reads images at all; a diffusion model alone does not."""
        return self.settings.draw_from is not DrawFrom.told

    def settled(self, item: InterleavedItem, number: int) -> tuple[Part, ...]:
        """The answer to a step that is known before the item is written; empty: none is."""
        return (item.steps[number].target or ()) if self.settings.history is History.gt else ()

    def refuse_unknown_past(self, item: InterleavedItem) -> None:
        """With true histories, require all answers but the last.

        Raises:
            Unwritable: One is not known.
        """
        if self.settings.history is History.gt:
            try:
                item.truth(len(item.steps) - 1)
            except ValueError as missing:
                raise Unwritable(
                    f"{missing}, which history=gt puts before the next step; give it one, or set history=self"
                ) from None

    def describe(self, item: InterleavedItem) -> dict[str, Any]:
        return {"id": item.id}

    def prediction(self, item: InterleavedItem, *, digest: str | None = None, text: str, **details: Any) -> dict[str, Any]:
        return {"id": item.id, "text": text, **details}

    def record(
        self,
        item: InterleavedItem,
        answers: Sequence[Answer],
        pictures: Sequence[tuple[str, str] | None],
        digests: Mapping[Path | StoredImage, str],
    ) -> dict[str, Any]:
        """An item's line of predictions.jsonl.

        Args:
            item: The item.
            answers: The answer to each step.
            pictures: For each answer's image, its name in the run folder and its SHA-256; None: no image.
            digests: SHA-256 of the images that were read.
        """
        steps = []
        for step, answer, picture in zip(item.steps, answers, pictures, strict=True):
            name, digest = picture or (None, None)
            drawn: dict[str, Any] = {"text": answer.text, "image": name, "image_sha256": digest, "token_ids": answer.ids}
            steps.append({**_known(step, digests), **drawn})
        past: dict[str, Any] = {"history": _records(item.past, digests)} if item.past else {}
        return self.prediction(item, text=" ".join(answer.text for answer in answers if answer.text), **past, steps=steps)

    def check(self, prediction: Mapping[str, Any]) -> str | None:
        steps = prediction.get("steps")
        is_sound = isinstance(steps, list) and all(map(_is_answer, steps))
        return super().check(prediction) or (None if is_sound else f"steps must be a list of answers, got {str(steps)[:60]!r}")

    def still_holds(self, item: InterleavedItem, prediction: Mapping[str, Any]) -> bool:
        """Whether the prompts are unchanged and the drawn images still exist."""
        steps = prediction["steps"]
        if len(steps) != len(item.steps) or not _are_the_same(item.past, prediction.get("history")):
            return False
        for number, (step, record) in enumerate(zip(item.steps, steps, strict=True), start=1):
            looked_at = [(step.parts, record.get("parts"))]
            if self.settings.history is History.gt and number < len(steps):
                looked_at.append((step.target or (), record.get("target")))
            if not all(_are_the_same(parts, records) for parts, records in looked_at):
                return False
            if record["image"] is not None and not (self.folder / record["image"]).is_file():
                return False
        return True

    def refreshed(self, item: InterleavedItem, prediction: dict[str, Any]) -> dict[str, Any]:
        """The prediction with the paths and true answers that the item has now."""
        steps = []
        for step, record in zip(item.steps, prediction["steps"], strict=True):
            digests = {**_digests(step.parts, record.get("parts")), **_digests(step.target or (), record.get("target"))}
            steps.append({**_known(step, digests), **{key: value for key, value in record.items() if key not in _KNOWN}})
        past = {"history": _records(item.past, _digests(item.past, prediction.get("history")))} if item.past else {}
        return {**prediction, **past, "steps": steps}

    def label(self, failure: Mapping[str, Any]) -> str:
        return failure["id"]

    def line(self, item: InterleavedItem, prediction: Mapping[str, Any]) -> tuple[str, str]:
        shown = [
            text for step in prediction["steps"] for text in (step["text"], f"[{step['image']}]" if step["image"] else "") if text
        ]
        return item.id, " ".join(shown)

    def exports(self, items: Sequence[InterleavedItem], predictions: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        page = self.settings.page
        if page.kind is PageKind.none:
            return {}
        records = [predictions[item.id] for item in items[: page.items]]
        return {PAGE: interleaved_page(records, self.folder, total=len(items), embedded=page.kind is PageKind.embedded)}


_KNOWN = ("parts", "target")


def _known(step: Step, digests: Mapping[Path | StoredImage, str]) -> dict[str, Any]:
    """A step as in its file, with the SHA-256 of the images that were read."""
    target = {} if step.target is None else {"target": _records(step.target, digests)}
    return {"parts": _records(step.parts, digests), **target}


def _records(parts: Sequence[Part], digests: Mapping[Path | StoredImage, str]) -> list[dict[str, Any]]:
    return [
        part.as_record() | ({} if part.image is None or part.image not in digests else {"sha256": digests[part.image]})
        for part in parts
    ]


def _digests(parts: Sequence[Part], records: Any) -> dict[Path | StoredImage, str]:
    """SHA-256 of the images that were read, taken from records."""
    pairs = zip(parts, records or (), strict=False)
    return {part.image: record["sha256"] for part, record in pairs if part.image is not None and "sha256" in record}


def _are_the_same(parts: Sequence[Part], records: Any) -> bool:
    """Whether parts equal those of a record. An image is compared by its content if the file exists; behind the same address it is not asked for."""
    if len(parts) != len(records or ()):
        return False
    for part, record in zip(parts, records or (), strict=True):
        if part.image is None:
            if part.as_record() != record:
                return False
        elif (
            "image" not in record
            or part.once != record.get("once", False)
            or "sha256" in record
            and not is_same_address(part.image, record["image"])
            and digest_of(part.image) not in (None, record["sha256"])
        ):
            return False
    return True


def _is_answer(step: Any) -> bool:
    """Whether a step has a text, and its image is missing or a file inside the run folder."""
    if not isinstance(step, dict) or not isinstance(step.get("text"), str):
        return False
    name = step.get("image")
    return name is None or isinstance(name, str) and not Path(name).is_absolute() and ".." not in Path(name).parts
