"""How one batch of items is written: check the images, write the texts, note the failures. Knows nothing of the run folder."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic

from magic_cli.data.images import SkippedImage, UnreadableImage
from magic_cli.image_features.reading import ImageReader, ReadImage
from magic_cli.image_features.seen import SeenImage
from magic_cli.models.shelf import Shelf
from magic_cli.models.work_counter import WorkCounter
from magic_cli.runs.batch_size import SizeWish, choose_batch_size
from magic_cli.runs.decoder import Decoder, Facts, Features
from magic_cli.runs.kinds import ItemT, Unwritable, WritingTask

Outcome = ReadImage | UnreadableImage | Unwritable | None
"""The features of an item's image, or the reason why there can be no text. None: the text is written without an image."""
FAULTS = (UnreadableImage, Unwritable)


@dataclass(frozen=True)
class Batch(Generic[ItemT]):
    """Items that are written side by side.

    Attributes:
        number: Its place in the run, from 0.
        items: All items of the batch, finished or not, so that a resumed run decodes the same batches as an uninterrupted one.
        done: Ids of the items that already have a text.
        seen: Of these, SHA-256 of each one's image, where the prediction tells it: those of captions and stories do.
    """

    number: int
    items: tuple[ItemT, ...]
    done: frozenset[str] = frozenset()
    seen: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_done(self) -> bool:
        """Whether no item of the batch is left to write."""
        return all(item.id in self.done for item in self.items)


@dataclass
class BatchResult:
    """The result of one batch.

    Attributes:
        number: The number of the batch.
        predictions: Lines of predictions.jsonl.
        steps: Lines of trace.jsonl, for the same items.
        failures: Lines of failures.jsonl.
    """

    number: int
    predictions: list[dict[str, Any]] = field(default_factory=list)
    steps: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)


_MEMORY_OPTIONS = ("trace", "step_memory", "compile")
"""Settings of the group ``run`` that change the memory of a text, and do not identify a run."""


class BatchWriter(Generic[ItemT]):
    """Writes batches; loads the models when they are first needed.

    Args:
        settings: Settings of the command.
        task: The kind of text.
        folder: Folder for files that belong to the texts, such as drawn images.
        shelf: Keeps loaded models for several writers; None: this writer keeps its own.

    Attributes:
        work: Counts the work done.
        reader: Reads image files the way the loaded models need them.
    """

    def __init__(self, settings: Any, task: WritingTask[ItemT], folder: Path, shelf: Shelf | None = None) -> None:
        self.settings, self.task, self.folder, self.shelf = settings, task, folder, shelf
        self.work = WorkCounter()
        dataset = settings.dataset
        self.reader: Any = ImageReader(dataset.apply_exif_orientation, dataset.skip_greyscale)  # or a bank's
        self.decoder: Decoder  # set by ``load``

    def load(self, facts: Facts, first: ItemT) -> None:
        """Load the models and prepare them.

        Args:
            facts: Receives what the manifest says about the models.
            first: The first item that needs a text.

        Raises:
            MagicError: The models cannot be loaded, or cannot do what the settings ask.
        """
        self.decoder = Decoder(self.settings, self.task, self.reader, self.work, self.shelf)
        self.decoder.load(facts, first)
        self.reader = self.decoder.viewers.reader

    def choose_batch_size(self, wish: SizeWish, first: ItemT) -> dict[str, Any]:
        """How many texts are written side by side, and why, as ``choose_batch_size`` says it; the models are loaded."""
        if not self.decoder.method.writes_side_by_side:
            wish = replace(wish, most=1)
        wish = replace(wish, options={name: getattr(self.settings.run, name) for name in _MEMORY_OPTIONS})
        counts, seconds = self.work.counts.copy(), self.work.seconds.copy()
        found = choose_batch_size(wish, self.decoder.viewers.where.device, lambda number: self.decoder.try_texts(first, number))
        for kept, before in ((self.work.counts, counts), (self.work.seconds, seconds)):
            kept.clear()
            kept.update(before)
        return found

    def images(self, batch: Batch[ItemT]) -> Sequence[Any]:
        """What ``reader`` must read for a batch, in order; that of a finished item with one image only if its feature is not kept."""
        found: list[Any] = []
        for item in batch.items:
            images = self.task.images(item)
            digest = batch.seen.get(item.id) if len(images) == 1 else None  # it is of one image
            found += images if digest is None else [SeenImage(images[0], digest)]
        return found

    def write(self, batch: Batch[ItemT], images: Sequence[ReadImage | UnreadableImage]) -> BatchResult:
        """Write the unfinished items of a batch.

        Args:
            batch: The batch.
            images: The images (or errors) of ``images(batch)``, in the same order.
        """
        rest = iter(images)
        outcomes = [self.judge(item, [next(rest) for _ in self.task.images(item)]) for item in batch.items]
        return self.write_judged(batch, outcomes)

    def write_judged(self, batch: Batch[ItemT], outcomes: Sequence[Outcome]) -> BatchResult:
        """Write the unfinished items of a batch, given the outcome of ``judge`` for each of its items."""
        result = BatchResult(batch.number)
        self._write(batch, outcomes, result)
        return result

    def judge(self, item: ItemT, images: Sequence[ReadImage | UnreadableImage]) -> Outcome:
        """The outcome for an item, given its images."""
        if images:
            return images[0]
        return UnreadableImage("it has no image") if self.settings.decoding.needs_image else None

    def failures(self, items: Sequence[ItemT], outcomes: Sequence[Any], done: Collection[str]) -> list[dict[str, Any]]:
        """Lines of failures.jsonl for the items that have no readable image or cannot be written."""
        return [
            {
                **self.task.describe(item),
                "reason": str(reason),
                **({"skipped": True} if isinstance(reason, SkippedImage) else {}),
            }
            for item, reason in zip(items, outcomes, strict=True)
            if isinstance(reason, FAULTS) and item.id not in done
        ]

    def _write(self, batch: Batch[ItemT], images: Sequence[Outcome], result: BatchResult) -> None:
        """Write the texts of a batch and add them to ``result``."""
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
            items, read, of_images = zip(*seen, strict=True)
            self._decode(items, read, of_images, batch.done, result)

    def refused(self, item: ItemT) -> Unwritable | None:
        """The reason why no text can be written for an item; None: it can be written."""
        try:
            self.decoder.prompt(item)
        except Unwritable as reason:
            return Unwritable(str(reason))
        return None

    def _decode(
        self,
        items: Sequence[ItemT],
        images: Sequence[ReadImage | None],
        features: Sequence[Features],
        done: Collection[str],
        result: BatchResult,
    ) -> None:
        """Write one text for each item. ``features`` are those of the images, for methods that look at images."""
        open_ids = {item.id for item in items if item.id not in done}
        model = self.decoder.language_model

        def trace(index: int, step: int, details: dict[str, Any]) -> None:
            item = items[index].id
            if item in open_ids:
                assert model is not None  # without one there are no steps
                texts = model.token_texts(details.get("token_ids", [details["choice"]]))
                result.steps.append({"id": item, "step": step, **details, "tokens": texts})
                self.traced(items[index], result.steps[-1])

        texts = self.decoder.write(items, features, trace if self.settings.run.trace else None)
        result.predictions += [
            self.task.prediction(item, digest=None if image is None else image.digest, **text)
            for item, image, text in zip(items, images, texts, strict=True)
            if item.id in open_ids
        ]

    def traced(self, item: ItemT, line: dict[str, Any]) -> None:
        """Called after each step that goes to trace.jsonl, so that a subclass can show a text while it is written."""
