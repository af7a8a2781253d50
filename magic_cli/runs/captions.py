"""Captions as a kind of text: the prompt, the line of predictions.jsonl, and the exports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from magic_cli.data.image_names import identities
from magic_cli.data.records import ImageRecord
from magic_cli.errors import SettingsError
from magic_cli.files import JsonList
from magic_cli.reports.exports import coco_results, released_format
from magic_cli.runs.kinds import WritingTask
from magic_cli.runs.settings import CaptionSettings

if TYPE_CHECKING:
    from magic_cli.decoding.rules import StopTexts
    from magic_cli.decoding.text import CaptionFormat
    from magic_cli.models.language.language_model import HuggingFaceLanguageModel
    from magic_cli.models.language.tokens import Tokens


class CaptionTask(WritingTask[ImageRecord]):
    """One caption for every image of the data set."""

    text, texts, unit = "caption", "captions", "image"
    changed = (
        "image has changed since it was captioned and is captioned again",
        "images have changed since they were captioned and are captioned again",
    )
    dropped = (
        "image is no longer in the dataset; its caption is moved to",
        "images are no longer in the dataset; their captions are moved to",
    )
    untraced = ("image was captioned without trace earlier", "images were captioned without trace earlier")
    failed = ("image could not be read", "images could not be read")

    def __init__(self, settings: CaptionSettings) -> None:
        self.settings = settings

    def items(self) -> Sequence[ImageRecord]:
        return self.settings.dataset.load()

    def facts(self, items: Sequence[ImageRecord]) -> dict[str, Any]:
        return {}

    def notes(self) -> list[str]:
        return self.settings.dataset.notes()

    def text_format(self, model: HuggingFaceLanguageModel, stop: StopTexts | None) -> CaptionFormat:
        from magic_cli.decoding.text import CaptionFormat

        return CaptionFormat(model, stop)

    def prompt(self, model: Tokens, item: ImageRecord) -> list[int]:
        ids = model.encode_prompt(self.settings.prompt)
        if fault := self.settings.room_fault(len(ids)):
            raise SettingsError(fault)
        return ids

    def image_names(self, item: ImageRecord) -> tuple[str, ...]:
        return identities(item.image_name, item.image_id)

    def describe(self, item: ImageRecord) -> dict[str, Any]:
        return {"id": item.id, "image": str(item.path)}

    def prediction(self, item: ImageRecord, *, digest: str | None, text: str, **details: Any) -> dict[str, Any]:
        return {**self.describe(item), "image_sha256": digest, "caption": text, **details, **_known(item)}

    def still_holds(self, item: ImageRecord, prediction: Mapping[str, Any]) -> bool:
        return True  # a caption depends on the image alone

    def refreshed(self, item: ImageRecord, prediction: dict[str, Any]) -> dict[str, Any]:
        """The prediction with the references that the data set has now, if any."""
        kept = {key: value for key, value in prediction.items() if key not in _KNOWN}
        return {**kept, **self.describe(item), **_known(item)}

    def label(self, failure: Mapping[str, Any]) -> str:
        return failure["image"]

    def line(self, item: ImageRecord, prediction: Mapping[str, Any]) -> tuple[str, str]:
        return item.id, prediction["caption"]

    def exports(self, items: Sequence[ImageRecord], predictions: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        texts = self.texts_of(predictions)
        return {
            "coco_results.json": JsonList(lambda: coco_results(items, texts)),
            "released_format.json": JsonList(lambda: released_format(items, texts)),
        }


_KNOWN = ("split", "references")


def _known(item: ImageRecord) -> dict[str, Any]:
    """What the data set says about an image, apart from its file."""
    return dict(zip(_KNOWN, (item.split, list(item.references)), strict=True)) if item.references else {}
