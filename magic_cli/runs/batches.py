"""What is done with one batch of items, wherever it is done: images judged, texts written, faults noted; no run folder."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from magic_cli.data.images import SkippedImage, StoredImage, UnreadableImage
from magic_cli.image_features.reading import ImageReader, ReadImage
from magic_cli.models.shelf import Shelf
from magic_cli.models.work_counter import WorkCounter
from magic_cli.runs.batch_size import SizeWish, choose_batch_size
from magic_cli.runs.decoder import Decoder, Facts, Features
from magic_cli.runs.kinds import Item, Unwritable, WritingTask

Outcome = ReadImage | UnreadableImage | Unwritable | None
"""What came of an item's image, or why there can be no text; None: it is written without an image."""
FAULTS = (UnreadableImage, Unwritable)


@dataclass(frozen=True)
class Batch:
    """Items that are written side by side.

    Attributes:
        number: Its place in the run.
        items: All of it, done or not: a run that goes on decodes the same batches as one that was never interrupted.
        done: Ids of items whose texts there are already.
    """

    number: int
    items: tuple[Item, ...]
    done: frozenset[str] = frozenset()

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to write."""
        return all(item.id in self.done for item in self.items)


@dataclass
class BatchResult:
    """What came of a batch.

    Attributes:
        number: The batch's.
        predictions: Lines of predictions.jsonl.
        steps: Lines of trace.jsonl, of the same items.
        failures: Lines of failures.jsonl.
    """

    number: int
    predictions: list[dict[str, Any]] = field(default_factory=list)
    steps: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)


class BatchWriter:
    """Writes batches; the models are loaded when they are needed.

    Args:
        settings: Of the command.
        task: What is written.
        folder: Where files lie that belong to the texts, such as images that are drawn.
        shelf: Where models stay that are loaded; None: they are this writer's alone.

    Attributes:
        work: Where work is counted.
        reader: How image files are read for the models that are loaded.
    """

    def __init__(self, settings: Any, task: WritingTask, folder: Path, shelf: Shelf | None = None) -> None:
        self.settings, self.task, self.folder, self.shelf = settings, task, folder, shelf
        self.work = WorkCounter()
        dataset = settings.dataset
        self.reader = ImageReader(dataset.apply_exif_orientation, dataset.skip_greyscale)
        self.decoder: Decoder | None = None

    def load(self, facts: Facts, first: Item) -> None:
        """Load the models and make them ready.

        Args:
            facts: Takes down what the manifest says of them.
            first: The first item that a text is to be written for.

        Raises:
            MagicError: They cannot be had, or cannot do what is asked.
        """
        self.decoder = Decoder(self.settings, self.task, self.reader, self.work, self.shelf)
        self.decoder.load(facts, first)
        self.reader = self.decoder.viewers.reader

    def choose_batch_size(self, wish: SizeWish, first: Item) -> dict[str, Any]:
        """How many texts are written side by side, and why, as ``choose_batch_size`` says it; the models are loaded."""
        if not self.decoder.method.writes_side_by_side:
            wish = replace(wish, most=1)
        counts, seconds = self.work.counts.copy(), self.work.seconds.copy()
        found = choose_batch_size(wish, self.decoder.viewers.where.device, lambda number: self.decoder.try_texts(first, number))
        for kept, before in ((self.work.counts, counts), (self.work.seconds, seconds)):
            kept.clear()
            kept.update(before)
        return found

    def images(self, batch: Batch) -> list[Path | StoredImage]:
        """The files that must be read for a batch, in order."""
        return [path for item in batch.items for path in self.task.images(item)]

    def write(self, batch: Batch, images: Sequence[ReadImage | UnreadableImage]) -> BatchResult:
        """Write what is not done of a batch.

        Args:
            batch: The batch.
            images: What came of ``images(batch)``, in their order.
        """
        rest = iter(images)
        outcomes = [self.judge(item, [next(rest) for _ in self.task.images(item)]) for item in batch.items]
        return self.write_judged(batch, outcomes)

    def write_judged(self, batch: Batch, outcomes: Sequence[Outcome]) -> BatchResult:
        """Write what is not done of a batch, of whose items ``judge`` has said what their images are."""
        result = BatchResult(batch.number)
        self._write(batch, outcomes, result)
        return result

    def judge(self, item: Item, images: Sequence[ReadImage | UnreadableImage]) -> Outcome:
        """What comes of an item whose images are read."""
        if images:
            return images[0]
        return UnreadableImage("there is no image for it") if self.settings.decoding.needs_image else None

    def failures(self, items: Sequence[Item], outcomes: Sequence[Any], done: Collection[str]) -> list[dict[str, Any]]:
        """Lines of failures.jsonl for the items that turned out to have no readable image, or to be unwritable."""
        return [
            {
                **self.task.describe(item),
                "reason": str(reason),
                **({"skipped": True} if isinstance(reason, SkippedImage) else {}),
            }
            for item, reason in zip(items, outcomes, strict=True)
            if isinstance(reason, FAULTS) and item.id not in done
        ]

    def _write(self, batch: Batch, images: Sequence[Outcome], result: BatchResult) -> None:
        """Write the texts of a batch into ``result``."""
        images = [self.refused(item) or image for item, image in zip(batch.items, images, strict=True)]
        result.failures += self.failures(batch.items, images, batch.done)
        readable = [(item, image) for item, image in zip(batch.items, images, strict=True) if not isinstance(image, FAULTS)]
        if all(item.id in batch.done for item, _ in readable):
            return
        outcomes = self.decoder.encode([image for _, image in readable])
        result.failures += self.failures([item for item, _ in readable], outcomes, batch.done)
        seen = [
            (*pair, features)
            for pair, features in zip(readable, outcomes, strict=True)
            if not isinstance(features, UnreadableImage)
        ]
        if seen:
            self._decode(*zip(*seen, strict=True), batch.done, result)

    def refused(self, item: Item) -> Unwritable | None:
        """Why an item cannot be written about; None: it can."""
        try:
            self.decoder.prompt(item)
        except Unwritable as reason:
            return Unwritable(str(reason))
        return None

    def _decode(
        self,
        items: Sequence[Item],
        images: Sequence[ReadImage | None],
        features: Sequence[Features],
        done: Collection[str],
        result: BatchResult,
    ) -> None:
        """Write one text for each item, of which a method that looks at images has ``features``."""
        open_ids = {item.id for item in items if item.id not in done}

        def trace(index: int, step: int, details: dict[str, Any]) -> None:
            item = items[index].id
            if item in open_ids:
                texts = self.decoder.language_model.token_texts(details.get("token_ids", [details["choice"]]))
                result.steps.append({"id": item, "step": step, **details, "tokens": texts})
                self.traced(items[index], result.steps[-1])

        texts = self.decoder.write(items, features, trace if self.settings.run.trace else None)
        result.predictions += [
            self.task.prediction(item, digest=image and image.digest, **text)
            for item, image, text in zip(items, images, texts, strict=True)
            if item.id in open_ids
        ]

    def traced(self, item: Item, line: dict[str, Any]) -> None:
        """A step was taken that trace.jsonl will have: for whoever shows texts while they are written."""
