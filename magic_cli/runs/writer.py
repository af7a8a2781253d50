"""The loop of a run that writes texts: images read ahead, batches, traces, failures."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from magic_cli.data.images import SkippedImage, UnreadableImage
from magic_cli.image_features.reading import ImageReader, ImageStream, ReadImage, choose_workers
from magic_cli.models.shelf import Shelf
from magic_cli.models.work_counter import WorkCounter
from magic_cli.runs.decoder import Decoder, Features
from magic_cli.runs.folder import RunFolder
from magic_cli.runs.kinds import Item, Unwritable, WritingTask
from magic_cli.terminal.progress import progress
from magic_cli.terminal.streams import print_line

_BATCHES_AHEAD = 2  # whose images are read while the models work on another

Outcome = ReadImage | UnreadableImage | Unwritable | None
"""What came of an item's image, or why there can be no text; None: it is written without an image."""
_FAULTS = (UnreadableImage, Unwritable)


class Writer:
    """The loop over batches; what a run decodes with is loaded if an item needs it."""

    def __init__(self, settings: Any, task: WritingTask, run: RunFolder) -> None:
        self.settings, self.task, self.run = settings, task, run
        self.work = WorkCounter()
        dataset = settings.dataset
        self.reader = ImageReader(dataset.apply_exif_orientation, dataset.skip_greyscale)
        self.decoder: Decoder | None = None
        self.shelf: Shelf | None = None
        """Where models stay that are loaded; None: they are this run's alone."""
        self.loading_seconds = 0.0
        """Wall time of loading the models, and of making sure that there is an image to write about."""

    def _load(self, first: Item) -> None:
        """``first`` is the first item that a text is to be written for."""
        self.decoder = Decoder(self.settings, self.task, self.reader, self.work, self.shelf)
        self.decoder.load(self.run, first)
        self.reader = self.decoder.viewers.reader

    def write(self, items: Sequence[Item]) -> None:
        """Write what is not done yet, batch by batch.

        Batches are cut from all items, done or not, so that a run that goes on decodes the same batches as one that
        was never interrupted. What it remembers of earlier texts may differ, the tokens do not.
        """
        size = self.settings.run.batch_size
        batches = [items[i : i + size] for i in range(0, len(items), size)]
        with self._recording():
            began = time.monotonic()
            to_read = self._begin(batches)
            self.loading_seconds = time.monotonic() - began
            self._write_batches(batches, to_read)

    def _write_batches(self, batches: Sequence[Sequence[Item]], to_read: set[int]) -> None:
        size, task = self.settings.run.batch_size, self.task
        with progress(sum(map(len, batches)), task.texts, task.unit) as bar:
            paths = [path for number in sorted(to_read) for item in batches[number] for path in task.images(item)]
            workers = choose_workers(self.settings.run.workers) if len(to_read) > 1 else 0
            with ImageStream(self.reader, paths, workers=workers, ahead=_BATCHES_AHEAD * size) as images:
                for number, batch in enumerate(batches):
                    if number in to_read:
                        self._write_batch(batch, self._take(images, batch))
                    for item in batch:
                        if item.id in self.run.predictions:
                            with bar.paused():
                                print_line(*task.line(item, self.run.predictions[item.id]))
                    bar.update(len(batch))

    def _begin(self, batches: Sequence[Sequence[Item]]) -> set[int]:
        """Numbers of the batches that are to be read; if there are any, the models are loaded.

        Where no image that a text is to be written for can be read, the reasons are recorded, and nothing is left to do.
        """
        pending = [item for batch in batches for item in batch if item.id not in self.run.predictions]
        reasons = []
        for item in pending:
            outcome = self._judge(item, self._read(item))
            if not isinstance(outcome, _FAULTS):
                self._load(item)
                open_ids = {item.id for item in pending}
                return {i for i, batch in enumerate(batches) if any(item.id in open_ids for item in batch)}
            reasons.append(outcome)
        self._fail(pending, reasons)
        return set()

    def _read(self, item: Item) -> list[ReadImage | UnreadableImage]:
        """The images of one item."""
        return [self.reader.read(path) for path in self.task.images(item)]

    def _take(self, images: ImageStream, batch: Sequence[Item]) -> list[Outcome]:
        """The next images of the stream, for those items of the batch that have some."""
        with self.work.phase("waiting_for_images"):
            return [self._judge(item, images.take(len(self.task.images(item)))) for item in batch]

    def _judge(self, item: Item, images: Sequence[ReadImage | UnreadableImage]) -> Outcome:
        """What comes of an item whose images are read."""
        if images:
            return images[0]
        return UnreadableImage("there is no image for it") if self.settings.decoding.needs_image else None

    def _write_batch(self, batch: Sequence[Item], images: Sequence[Outcome]) -> None:
        images = [self._refused(item) or image for item, image in zip(batch, images, strict=True)]
        self._fail(batch, images)
        readable = [(item, image) for item, image in zip(batch, images, strict=True) if not isinstance(image, _FAULTS)]
        if all(item.id in self.run.predictions for item, _ in readable):
            return
        outcomes = self.decoder.encode([image for _, image in readable])
        self._fail([item for item, _ in readable], outcomes)
        seen = [
            (*pair, features)
            for pair, features in zip(readable, outcomes, strict=True)
            if not isinstance(features, UnreadableImage)
        ]
        if seen:
            self._decode(*zip(*seen, strict=True))

    def _refused(self, item: Item) -> Unwritable | None:
        try:
            self.decoder.prompt(item)
        except Unwritable as reason:
            return Unwritable(str(reason))
        return None

    def _decode(self, items: Sequence[Item], images: Sequence[ReadImage | None], features: Sequence[Features]) -> None:
        """Write one text for each item, of which a method that looks at images has ``features``."""
        open_ids = {item.id for item in items if item.id not in self.run.predictions}
        steps: list[dict[str, Any]] = []

        def trace(index: int, step: int, details: dict[str, Any]) -> None:
            item = items[index].id
            if item in open_ids:
                texts = self.decoder.language_model.token_texts(details.get("token_ids", [details["choice"]]))
                steps.append({"id": item, "step": step, **details, "tokens": texts})
                self.traced(items[index], steps[-1])

        texts = self.decoder.write(items, features, trace if self.settings.run.trace else None)
        self.run.add_trace(steps)
        self.run.add_predictions(
            [
                self.task.prediction(item, digest=image and image.digest, **text)
                for item, image, text in zip(items, images, texts, strict=True)
                if item.id in open_ids
            ]
        )

    def traced(self, item: Item, line: dict[str, Any]) -> None:
        """A step was taken that trace.jsonl will have: for whoever shows texts while they are written."""

    def _fail(self, items: Sequence[Item], outcomes: Sequence[Any]) -> None:
        """Record the items that turned out to have no readable image, or to be unwritable."""
        self.run.add_failures(
            [
                {
                    **self.task.describe(item),
                    "reason": str(reason),
                    **({"skipped": True} if isinstance(reason, SkippedImage) else {}),
                }
                for item, reason in zip(items, outcomes, strict=True)
                if isinstance(reason, _FAULTS) and item.id not in self.run.predictions
            ]
        )

    @contextmanager
    def _recording(self) -> Iterator[None]:
        """Note the work done in the manifest, also when the run is stopped."""
        try:
            yield
        finally:
            phases = {name: round(seconds, 3) for name, seconds in self.work.seconds.items()}
            self.run.record(work=dict(self.work.counts), phase_seconds=phases)
