"""Stories as a kind of text: title and image, the prompt, the line of predictions.jsonl, and the exports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from magic_cli.data.stories import StoryRecord
from magic_cli.decoding.text import StoryFormat, story_prompt
from magic_cli.reports.exports import released_stories
from magic_cli.runs.choices import method_name
from magic_cli.runs.kinds import Unwritable, WritingTask
from magic_cli.runs.settings import TITLE, StorySettings
from magic_cli.terminal.wording import counted

if TYPE_CHECKING:
    from magic_cli.decoding.rules import StopTexts
    from magic_cli.models.language.language_model import HuggingFaceLanguageModel
    from magic_cli.models.language.tokens import Tokens


class StoryTask(WritingTask[StoryRecord]):
    """One story per title for methods that look at no image; otherwise one for each of the title's best images."""

    text, texts, unit = "story", "stories", "story"
    changed = (
        "title or image has changed since its story was written; the story is written again",
        "titles or images have changed since their stories were written; the stories are written again",
    )
    dropped = (
        "title or image is no longer in the data set; its story is moved to",
        "titles or images are no longer in the data set; their stories are moved to",
    )
    untraced = ("story was written without trace earlier", "stories were written without trace earlier")
    failed = ("story could not be written", "stories could not be written")

    def __init__(self, settings: StorySettings) -> None:
        self.settings = settings

    def items(self) -> list[StoryRecord]:
        return self.settings.dataset.load(needs_image=self.settings.decoding.needs_image)

    def facts(self, items: Sequence[StoryRecord]) -> dict[str, Any]:
        by_rank = Counter(str(item.rank) for item in items if item.rank is not None)
        return {"stories_by_rank": dict(sorted(by_rank.items()))} if by_rank else {}

    def notes(self) -> list[str]:
        dataset, method = self.settings.dataset, self.settings.decoding
        if not method.needs_image and (dataset.retrieved or getattr(dataset, "image", None)):
            return [f"decoding={method_name(method)} looks at no image: one story is written for each title"]
        return []

    def text_format(self, model: HuggingFaceLanguageModel, stop: StopTexts | None) -> StoryFormat:
        return StoryFormat(model, stop)

    def prompt(self, model: Tokens, item: StoryRecord) -> list[int]:
        template, length = self.settings.prompt, self.settings.decoding.decoding_len
        if template is None:
            ids = model.encode(story_prompt(item.title, *model.token_texts([model.end_id])))
        else:
            ids = model.encode_prompt(template.replace(TITLE, item.title))
        if len(ids) >= length:
            raise Unwritable(
                f"its prompt has {counted(len(ids), 'token')}, and decoding.decoding_len={length} counts them; raise it, or shorten the title"
            )
        if fault := self.settings.room_fault(len(ids)):
            raise Unwritable(fault)
        return ids

    def describe(self, item: StoryRecord) -> dict[str, Any]:
        image = {} if item.path is None else {"image": str(item.path)}
        rank = {} if item.rank is None else {"rank": item.rank}
        return {"id": item.id, "title_id": item.title_id, "title": item.title, **rank, **image}

    def prediction(self, item: StoryRecord, *, digest: str | None, text: str, **details: Any) -> dict[str, Any]:
        image = {} if digest is None else {"image_sha256": digest}
        known = {} if item.reference is None else {"reference": item.reference}
        return {**self.describe(item), **image, "story": text, **details, **known}

    def still_holds(self, item: StoryRecord, prediction: Mapping[str, Any]) -> bool:
        return item.title == prediction.get("title")

    def refreshed(self, item: StoryRecord, prediction: dict[str, Any]) -> dict[str, Any]:
        """The prediction with the stories by people, and the image path, that the data has now."""
        kept = {**{key: value for key, value in prediction.items() if key != "reference"}, **self.describe(item)}
        return kept if item.reference is None else {**kept, "reference": item.reference}

    def label(self, failure: Mapping[str, Any]) -> str:
        return f"{failure['title']!r} (id {failure['id']})"

    def line(self, item: StoryRecord, prediction: Mapping[str, Any]) -> tuple[str, str]:
        return item.title, prediction["story"]

    def exports(self, items: Sequence[StoryRecord], predictions: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        return {
            "released_format.json": released_stories(
                items, self.texts_of(predictions), method=method_name(self.settings.decoding)
            )
        }
