"""The loop of the Python API: ``Writer``'s, with images from memory and nothing on disk."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magic_cli.data.images import UnreadableImage
from magic_cli.errors import MagicError
from magic_cli.image_features.reading import ReadImage
from magic_cli.runs.decoder import Decoder
from magic_cli.runs.kinds import Item, Unwritable, WritingTask
from magic_cli.runs.writer import Writer

if TYPE_CHECKING:
    from magic_cli.api.models import LoadedModels

Source = Any
"""A file (``Path``), an image of Pillow, or None."""
_RESULT = ("id", "image", "image_sha256", "token_ids", "title", "title_id", "rank")
"""What a prediction says that is no detail of its method."""


@dataclass
class MemoryRun:
    """What a run folder keeps, kept in memory; as much of ``RunFolder`` as a ``Writer`` needs."""

    predictions: dict[str, dict[str, Any]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    trace: list[dict[str, Any]] = field(default_factory=list)

    def add_predictions(self, records: Sequence[dict[str, Any]]) -> None:
        self.predictions |= {record["id"]: record for record in records}

    def add_failures(self, records: Sequence[dict[str, Any]]) -> None:
        self.failures |= {record["id"]: record["reason"] for record in records}

    def add_trace(self, steps: Sequence[dict[str, Any]]) -> None:
        self.trace += steps


class MemoryWriter(Writer):
    """Writes texts for images in memory.

    Args:
        settings: Of the command whose texts these are.
        task: What is written.
        sources: The image of each item, by the item's id.
        models: Where models and decoders stay.
        raises: Whether an item that cannot be written stops all.
    """

    def __init__(
        self, settings: Any, task: WritingTask, sources: Mapping[str, Source], models: LoadedModels, *, raises: bool = True
    ) -> None:
        super().__init__(settings, task, MemoryRun())
        self.work, self._sources, self._models, self._raises = models.work, sources, models, raises

    def _load(self, first: Item) -> None:
        self.decoder: Decoder = self._models.decoder(self.settings, self.task, self.reader, first)
        self.reader = self.decoder.viewers.reader

    def write(self, items: Sequence[Item]) -> None:
        """Write all texts, batch by batch as a run does."""
        size = self.settings.run.batch_size
        batches = [items[i : i + size] for i in range(0, len(items), size)]
        with _quiet_pillow():
            for number in sorted(self._begin(batches)):
                batch = batches[number]
                self._write_batch(batch, [self._judge(item, self._read(item)) for item in batch])

    def stream(self, item: Item) -> Iterator[tuple[list[int], dict[str, Any]]]:
        """Write one text; yields after each choice the tokens so far and the line of the trace.

        All that can be wrong is said before the first step.
        """
        with _quiet_pillow():
            self._begin([[item]])
            image = self._judge(item, self._read(item))
        fault = self._refused(item)
        self._fail([item], [fault or image])
        [features] = self.decoder.encode([image])
        self._fail([item], [features])
        return self._steps(item, features)

    def _steps(self, item: Item, features: Any) -> Iterator[tuple[list[int], dict[str, Any]]]:
        ids: list[int] = []
        lines: list[dict[str, Any]] = []
        for _ in self.decoder.stream(item, features, lambda index, step, details: lines.append({"step": step, **details})):
            for line in lines:
                ids.append(line["choice"])
                tokens = self.decoder.language_model.token_texts(line.get("token_ids", [line["choice"]]))
                yield list(ids), {**line, "tokens": tokens}
            lines.clear()

    def text_of(self, item: Item, ids: Sequence[int]) -> str:
        """The text of an item of which these tokens are written."""
        return self.decoder.format.text(self.decoder.prompt(item), ids)

    @property
    def held_back(self) -> int:
        """Letters at the end of a text that a stop text may still take away."""
        stop = self.decoder.format.stop
        return max((len(text) for text in stop.texts), default=0) if stop is not None else 0

    def token_texts(self, ids: Sequence[int]) -> tuple[str, ...]:
        return tuple(self.decoder.language_model.token_texts(list(ids))) if ids else ()

    def details(self, item: str) -> dict[str, Any]:
        """What a method says of its text beside the text itself."""
        known = (*_RESULT, self.task.text)
        return {name: value for name, value in self.run.predictions[item].items() if name not in known}

    def _begin(self, batches: Sequence[Sequence[Item]]) -> set[int]:
        if self._raises:  # before anything is written: the work would be lost
            items = [item for batch in batches for item in batch]
            self._fail(items, [self._judge(item, self._read(item)) for item in items])
        return super()._begin(batches)

    def _read(self, item: Item) -> list[ReadImage | UnreadableImage]:
        source = self._sources.get(item.id)
        if source is None:
            return []
        if isinstance(source, Path):
            return [self.reader.read(source)]
        try:
            return [self.reader.read_picture(source)]
        except UnreadableImage as reason:
            return [reason]

    def _fail(self, items: Sequence[Item], outcomes: Sequence[Any]) -> None:
        faults = [
            (item, reason)
            for item, reason in zip(items, outcomes, strict=True)
            if isinstance(reason, UnreadableImage | Unwritable)
        ]
        if faults and self._raises:
            item, reason = faults[0]
            more = f" ({len(faults) - 1} more cannot be written either)" if len(faults) > 1 else ""
            label = self.task.label(self.task.describe(item))
            raise MagicError(f"no {self.task.text} for {label}: {reason}{more}; leave it out, or set on_error='skip'")
        super()._fail(items, outcomes)


class _quiet_pillow(warnings.catch_warnings):
    """Pillow's warnings of odd files are not told, as in a run."""

    def __enter__(self) -> Any:
        log = super().__enter__()
        warnings.filterwarnings("ignore", module="PIL")
        return log
