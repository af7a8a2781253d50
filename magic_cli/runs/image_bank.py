"""Builds the index of a bank of images: batches go to an engine, this process keeps the files."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from magic_cli.data.images import UnreadableImage
from magic_cli.image_features.encoding import connect
from magic_cli.image_features.reading import ImageReader, ReadImage
from magic_cli.models.work_counter import WorkCounter
from magic_cli.retrieval.bank import Bank, BankImage, BankReader
from magic_cli.retrieval.features import Features
from magic_cli.retrieval.image_settings import RetrieveImagesSettings
from magic_cli.retrieval.search import open_search
from magic_cli.retrieval.store import FeatureWriter
from magic_cli.runs.batch_list import BatchList
from magic_cli.runs.batches import FAULTS, Batch, BatchResult, BatchWriter
from magic_cli.runs.engines.base import Engine
from magic_cli.runs.engines.choose import open_engine
from magic_cli.runs.engines.host import Ready
from magic_cli.terminal.progress import progress

if TYPE_CHECKING:
    from torch import Tensor

    from magic_cli.runs.decoder import Facts

_MODEL = "image_text_model"


class EncodingWriter(BatchWriter[Any]):
    """Encodes batches of images; what it writes of each are its row of features and its line of items.jsonl."""

    def __init__(self, settings: RetrieveImagesSettings, task: Any, folder: Path) -> None:
        self.settings, self.task, self.folder = settings, task, folder
        self.work = WorkCounter()

    def load(self, facts: Facts, first: BankImage) -> None:
        import torch

        from magic_cli.retrieval.image_index import load_model

        model, of_model, where = load_model(self.settings, self.work)
        reader, self._encoder = connect(ImageReader(self.settings.apply_exif_orientation), model, of_model, cache=None, **where)
        self.reader = BankReader(reader)
        facts.use_models({_MODEL: of_model})
        facts.record(device=str(where["device"]), threads=torch.get_num_threads())

    def images(self, batch: Batch) -> Sequence[BankImage]:
        return batch.items

    def write(self, batch: Batch, images: Sequence[ReadImage | UnreadableImage]) -> BatchResult:
        encoded = iter(self._encoder.encode([image for image in images if not isinstance(image, UnreadableImage)]))
        outcomes = [image if isinstance(image, UnreadableImage) else _usable(next(encoded)) for image in images]
        rows = [
            {"feature": feature.cpu().numpy(), "item": {**item.location(), "sha256": image.digest}}
            for item, image, feature in zip(batch.items, images, outcomes, strict=True)
            if not isinstance(image, UnreadableImage) and not isinstance(feature, UnreadableImage)
        ]
        return BatchResult(batch.number, predictions=rows, failures=self.failures(batch.items, outcomes, ()))

    def failures(self, items: Sequence[BankImage], outcomes: Sequence[Any], done: Collection[str]) -> list[dict[str, Any]]:
        return [
            {**item.location(), "reason": str(reason)}
            for item, reason in zip(items, outcomes, strict=True)
            if isinstance(reason, FAULTS)
        ]


def build_index(settings: RetrieveImagesSettings, bank: Bank) -> tuple[Features, int]:
    """Encode the images that are not in the index yet, and build its approximate part if one is asked for.

    Args:
        settings: Of the command.
        bank: What ``list_images`` found.

    Returns:
        The features, and how many images were looked at now; the others were in the index before.

    Raises:
        MagicError: The model or the folder cannot be used.
    """
    found, writer = Ready(), EncodingWriter(settings, None, settings.index_folder)
    first: Any = bank.images[0]
    with open_engine(writer, first, found) as engine:
        engine.get_ready()
        with FeatureWriter(
            settings.index_folder, "index", _identity(settings, bank, found), dtype=settings.search.features
        ) as store:
            new = 0 if store.is_complete else len(bank.images) - store.inputs_done
            if not store.is_complete:
                _fill(store, bank.images, engine, settings.run.batch_size)
                store.finish()
    features = Features(settings.index_folder, "index", check=False)  # just written, or checked by the first query
    if features.rows:
        open_search(features, settings.search, threads=settings.run.threads)
    return features, new


def _identity(settings: RetrieveImagesSettings, bank: Bank, found: Ready) -> dict[str, Any]:
    """All that the features depend on. Which of several like devices a worker had is not among it."""
    device = found.facts["device"]
    return {
        "kind": "images", "model": found.models[_MODEL], "inputs": bank.digest, "count": len(bank.images),
        "apply_exif_orientation": settings.apply_exif_orientation,
        "device": device if ":" in settings.run.device else device.partition(":")[0], "dtype": f"torch.{settings.run.dtype.value}",
    }  # fmt: skip


def _fill(store: FeatureWriter, images: Sequence[BankImage], engine: Engine, size: int) -> None:
    """Batches are cut from all images, so that a build that goes on encodes the same ones together, to the last bit."""
    done = store.inputs_done
    rest: Any = images[done:]
    batches = BatchList(rest, size, ())
    with progress(len(images), "index", "image", done=done) as bar:
        for batch, result in zip(batches, engine.results(batches, in_order=True), strict=True):
            _add(store, batch, result)
            bar.update(len(batch.items))


def _add(store: FeatureWriter, batch: Batch, result: BatchResult) -> None:
    place = {item.id: place for place, item in enumerate(batch.items)}
    rows = sorted(result.predictions, key=lambda row: place[row["item"]["id"]])
    failures = sorted(result.failures, key=lambda failure: place[failure["id"]])
    features = np.stack([row["feature"] for row in rows]) if rows else np.empty((0, 0))
    store.add(features, [row["item"] for row in rows], failures, inputs=len(batch.items))


def _usable(feature: Tensor | UnreadableImage) -> Tensor | UnreadableImage:
    if isinstance(feature, UnreadableImage):
        return feature
    length = float(feature.norm())
    return (
        feature
        if np.isfinite(length) and length > 0
        else UnreadableImage("the image-text model gives no feature of finite length")
    )
