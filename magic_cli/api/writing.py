"""The loop of the Python API: batches as in a run, with images from memory, and nothing on disk."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from magic_cli.data.images import StoredImage, UnreadableImage
from magic_cli.errors import MagicError, SettingsError
from magic_cli.image_features.reading import ReadImage
from magic_cli.runs.batches import FAULTS, Batch, BatchResult, BatchWriter, Outcome
from magic_cli.runs.decoder import Decoder, Features
from magic_cli.runs.kinds import Item, WritingTask

if TYPE_CHECKING:
    from magic_cli.api.models import LoadedModels

Source = Any
"""A file (``Path``), a Pillow image, or None."""
_RESULT = ("id", "image", "image_sha256", "token_ids", "title", "title_id", "rank")
"""Keys of a prediction that are not details of the method."""


@dataclass
class Written:
    """The data that a run folder would hold, kept in memory."""

    predictions: dict[str, dict[str, Any]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    trace: list[dict[str, Any]] = field(default_factory=list)

    def keep(self, result: BatchResult) -> None:
        """Add the result of a batch."""
        self.predictions |= {record["id"]: record for record in result.predictions}
        self.failures |= {record["id"]: record["reason"] for record in result.failures}
        self.trace += result.steps


class _ReadyBatchWriter(BatchWriter):
    """Writes batches with models that stay loaded."""

    def __init__(self, settings: Any, task: WritingTask, models: LoadedModels) -> None:
        super().__init__(settings, task, Path())
        self.work, self._models = models.work, models

    def load(self, facts: Any, first: Item) -> None:
        self.decoder: Decoder = self._models.decoder(self.settings, self.task, self.reader, first)
        self.reader = self.decoder.viewers.reader


class MemoryWriter:
    """Writes texts for images in memory.

    Args:
        settings: Settings of the command that writes such texts.
        task: The kind of text.
        sources: The image of each item, by the item's id.
        models: Keeps models and decoders.
        raises: Whether an item that cannot be written stops everything.
    """

    def __init__(
        self, settings: Any, task: WritingTask, sources: Mapping[str, Source], models: LoadedModels, *, raises: bool = True
    ) -> None:
        self.settings, self.task, self.run = settings, task, Written()
        self._sources, self._models, self._raises = sources, models, raises
        self._writer = _ReadyBatchWriter(settings, task, models)

    @property
    def decoder(self) -> Decoder:
        """The decoder of the texts."""
        return self._writer.decoder

    def write(self, items: Sequence[Item]) -> None:
        """Write all texts, batch by batch as a run does."""
        self.settings.require_number("texts from Python are written without a trial before them")
        if self.settings.run.shard is not None:
            raise SettingsError(f"run.shard={self.settings.run.shard}: belongs to run folders; give the images of the part")
        size = self.settings.run.batch_size
        with _quiet_pillow():
            if not self._load(items):
                return
            for number, start in enumerate(range(0, len(items), size)):
                batch = Batch(number, tuple(items[start : start + size]))
                self._keep(self._writer.write_judged(batch, [self._judged(item) for item in batch.items]))

    def stream(self, item: Item) -> Iterator[tuple[list[int], dict[str, Any]]]:
        """Write one text; yields the tokens so far and the line of the trace after each choice.

        All errors are raised before the first step.
        """
        with _quiet_pillow():
            self._load([item])
            image = self._judged(item)
        self._fail([item], [self._writer.refused(item) or image])
        [features] = self.decoder.encode([cast("ReadImage | None", image)])
        self._fail([item], [features])
        lines: list[dict[str, Any]] = []
        steps = self.decoder.stream(
            item, cast("Features", features), lambda index, step, details: lines.append({"step": step, **details})
        )
        return self._told(steps, lines)

    def _told(self, steps: Iterator[None], lines: list[dict[str, Any]]) -> Iterator[tuple[list[int], dict[str, Any]]]:
        ids: list[int] = []
        for _ in steps:
            for line in lines:
                ids.append(line["choice"])
                tokens = self.token_texts(line.get("token_ids", [line["choice"]]))
                yield list(ids), {**line, "tokens": list(tokens)}
            lines.clear()

    def text_of(self, item: Item, ids: Sequence[int]) -> str:
        """The text of an item with these tokens."""
        return self.decoder.format.text(self.decoder.prompt(item), ids)

    @property
    def held_back(self) -> int:
        """How many letters at the end of a text may still be removed by a stop text."""
        stop: Any = getattr(self.decoder.format, "stop", None)  # stories have no stop texts
        return max((len(text) for text in stop.texts), default=0) if stop is not None else 0

    def token_texts(self, ids: Sequence[int]) -> tuple[str, ...]:
        model = self.decoder.language_model
        return tuple(model.token_texts(list(ids))) if ids and model is not None else ()

    def details(self, item: str) -> dict[str, Any]:
        """The method's own data about its text."""
        known = (*_RESULT, self.task.text)
        return {name: value for name, value in self.run.predictions[item].items() if name not in known}

    def _load(self, items: Sequence[Item]) -> bool:
        """Load what the items need; returns whether any item can be written. Images are read before other work begins."""
        outcomes = [self._judged(item) for item in items]
        self._fail(items, outcomes if self._raises else [None] * len(items))
        first = next((item for item, outcome in zip(items, outcomes, strict=True) if not isinstance(outcome, FAULTS)), None)
        if first is None:
            self._fail(items, outcomes)
            return False
        self._writer.load(None, first)
        return True

    def _judged(self, item: Item) -> Outcome:
        return self._writer.judge(item, self._read(item))

    def _read(self, item: Item) -> list[ReadImage | UnreadableImage]:
        source = self._sources.get(item.id)
        if source is None:
            return []
        if isinstance(source, Path | StoredImage):
            return [self._writer.reader.read(source)]
        try:
            return [self._writer.reader.read_picture(source)]
        except UnreadableImage as reason:
            return [reason]

    def _fail(self, items: Sequence[Item], outcomes: Sequence[Any]) -> None:
        self._keep(BatchResult(0, failures=self._writer.failures(items, outcomes, ())))

    def _keep(self, result: BatchResult) -> None:
        if result.failures and self._raises:
            failure, count = result.failures[0], len(result.failures) - 1
            more = f" ({count} more cannot be written either)" if count else ""
            label = self.task.label(failure)
            raise MagicError(f"no {self.task.text} for {label}: {failure['reason']}{more}; leave it out, or set on_error='skip'")
        self.run.keep(result)


class _quiet_pillow(warnings.catch_warnings):
    """Silences Pillow's warnings about odd files, as in a run."""

    def __enter__(self) -> Any:
        log = super().__enter__()
        warnings.filterwarnings("ignore", module="PIL")
        return log
