"""Builds the index of a bank of images, and answers queries with it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from magic_cli.data.images import UnreadableImage
from magic_cli.errors import MagicError
from magic_cli.image_features.encoding import ImageEncoder, connect
from magic_cli.image_features.reading import ImageReader, ImageStream, ReadImage, choose_workers
from magic_cli.models.loading import load_image_text_model, resolve_device
from magic_cli.models.work_counter import WorkCounter
from magic_cli.provenance import differences
from magic_cli.retrieval.bank import Bank, BankImage, BankReader
from magic_cli.retrieval.caption_index import encode_by_length
from magic_cli.retrieval.features import Features
from magic_cli.retrieval.image_settings import RetrieveImagesSettings
from magic_cli.retrieval.search import open_search
from magic_cli.retrieval.store import FeatureWriter
from magic_cli.terminal.progress import progress

if TYPE_CHECKING:
    from magic_cli.models.image_text.image_text_model import ImageTextModel

_BATCHES_AHEAD = 2  # their images are read while the model works on an earlier batch
_DECIMALS = 6


def build_index(settings: RetrieveImagesSettings, bank: Bank) -> tuple[Features, int]:
    """Encode the images that are not in the index yet, and build its approximate part if one is asked for.

    Args:
        settings: Settings of the command.
        bank: The images, from ``list_images``.

    Returns:
        The features, and how many images were read now; the others were in the index before.

    Raises:
        MagicError: The model or the folder cannot be used.
    """
    model, facts, where = _load(settings)
    identity = {
        "kind": "images", "model": facts, "inputs": bank.digest, "count": len(bank.images),
        "apply_exif_orientation": settings.apply_exif_orientation, **{name: str(value) for name, value in where.items()},
    }  # fmt: skip
    with FeatureWriter(settings.index_folder, "index", identity, dtype=settings.search.features) as store:
        new = 0 if store.is_complete else len(bank.images) - store.inputs_done
        if not store.is_complete:
            reader, encoder = connect(ImageReader(settings.apply_exif_orientation), model, facts, cache=None, **where)
            _encode(bank.images, BankReader(reader), encoder, store, settings)
            store.finish()
    features = Features(settings.index_folder, "index", check=False)  # just written, or checked by the first query
    if features.rows:
        open_search(features, settings.search, threads=settings.run.threads)
    return features, new


def _encode(
    images: Sequence[BankImage], reader: BankReader, encoder: ImageEncoder, store: FeatureWriter, settings: RetrieveImagesSettings
) -> None:
    """Batches are cut from all images, so that a resumed build encodes the same images together, to the last bit."""
    done, size = store.inputs_done, settings.run.batch_size
    workers = choose_workers(settings.run.workers) if len(images) - done > size else 0
    with (
        progress(len(images), "index", "image", done=done) as bar,
        ImageStream(reader, images[done:], workers=workers, ahead=_BATCHES_AHEAD * size) as stream,
    ):
        for start in range(done, len(images), size):
            batch = images[start : start + size]
            features, items, failures = _encode_batch(batch, stream.take(len(batch)), encoder)
            store.add(features, items, failures, inputs=len(batch))
            bar.update(len(batch))


def _encode_batch(
    batch: Sequence[BankImage], read: Sequence[ReadImage | UnreadableImage], encoder: ImageEncoder
) -> tuple[np.ndarray, list[dict[str, Any]], list[dict[str, Any]]]:
    """Features (N, E) of the images that have one, the items of their rows, and the other images with the reason."""
    encoded = iter(encoder.encode([image for image in read if not isinstance(image, UnreadableImage)]))
    rows, items, failures = [], [], []
    for image, outcome in zip(batch, read, strict=True):
        feature = outcome if isinstance(outcome, UnreadableImage) else _usable(next(encoded))
        if isinstance(feature, UnreadableImage):
            failures.append({**image.location(), "reason": str(feature)})
        else:
            rows.append(feature.cpu().numpy())
            items.append({**image.location(), "sha256": outcome.digest})
    return np.stack(rows) if rows else np.empty((0, 0)), items, failures


def _usable(feature: Tensor | UnreadableImage) -> Tensor | UnreadableImage:
    if isinstance(feature, UnreadableImage):
        return feature
    length = float(feature.norm())
    return (
        feature
        if np.isfinite(length) and length > 0
        else UnreadableImage("the image-text model gives no feature of finite length")
    )


def _load(settings: RetrieveImagesSettings) -> tuple[ImageTextModel, dict[str, Any], dict[str, Any]]:
    if settings.run.threads is not None:
        torch.set_num_threads(settings.run.threads)
    where = {"device": resolve_device(settings.run.device), "dtype": getattr(torch, settings.run.dtype.value)}
    model, facts = load_image_text_model(settings.image_text_model, **where, work=WorkCounter())
    return model, {**facts, "logit_scale": None}, where  # the temperature changes no feature


class ImageIndex:
    """An index, ready for queries.

    Args:
        settings: Index, model, kind of search.

    Raises:
        MagicError: There is no complete index, it is damaged, or another model built it.
    """

    def __init__(self, settings: RetrieveImagesSettings) -> None:
        self.features = Features(settings.index_folder, "index")
        if not self.features.rows:
            raise MagicError(f"index={settings.index}: holds no image (see its failures.jsonl); build it from readable ones")
        self._model, self.model_facts, _ = _load(settings)
        changed = "; ".join(differences(self.features.manifest["identity"].get("model"), self.model_facts))
        if changed:
            raise MagicError(
                f"index={settings.index}: was built with another image_text_model ({changed}); name that one, or build another index"
            )
        self._search = open_search(self.features, settings.search, threads=settings.run.threads)

    def query(self, texts: Sequence[str], top_k: int) -> tuple[list[list[dict[str, Any]]], dict[str, float]]:
        """The best images for each text, best first, and the seconds of encoding and searching.

        Returns:
            Items with ``id``, ``image`` and ``score`` (the cosine), and for an image in a shard its offset and size.
        """
        began = time.perf_counter()
        known = list(dict.fromkeys(texts))
        with progress(len(known), "encoding", "text", leave=False) as bar:
            encoded = encode_by_length(self._model, known, done=bar.update)
        halfway = time.perf_counter()
        scores, numbers = self._search.best(encoded, top_k)
        seconds = {"encoding": halfway - began, "searching": time.perf_counter() - halfway}
        found = dict(zip(known, map(self._items, numbers, scores), strict=True))
        return [found[text] for text in texts], seconds

    def _items(self, numbers: np.ndarray, scores: np.ndarray) -> list[dict[str, Any]]:
        there = numbers >= 0
        items = self.features.items(numbers[there])
        return [{**item, "score": round(float(score), _DECIMALS)} for item, score in zip(items, scores[there], strict=True)]


def describe(index: ImageIndex, settings: RetrieveImagesSettings) -> Mapping[str, Any]:
    """What the manifest of a query says about its index."""
    facts = index.features.manifest
    counts = {name: facts[name] for name in ("inputs", "rows", "failures", "dim")}
    return {"folder": str(Path(settings.index_folder).absolute()), "digest": index.features.digest, **counts}
