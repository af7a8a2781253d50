"""Turns images into features: those in the cache are read from there, the others are encoded together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from magic_cli.data.images import UnreadableImage
from magic_cli.image_features.cache import FeatureCache, FeatureFile, cache_name
from magic_cli.image_features.reading import ImageReader, Look, ReadImage, cannot_take, is_worker_death

if TYPE_CHECKING:
    from magic_cli.models.image_text.image_text_model import ImageTextModel


_LOOK_UP_SECONDS = 1.0  # how long a reading process waits while another writes into the cache


def connect(
    reader: ImageReader,
    model: ImageTextModel,
    facts: Mapping[str, Any],
    *,
    device: torch.device,
    dtype: torch.dtype,
    cache: Path | None,
) -> tuple[ImageReader, ImageEncoder]:
    """Both ends of the path from image files to features: a reader that also prepares images for the model, and the encoder.

    Args:
        reader: The reader so far, with the models it already prepares for.
        model: The model.
        facts: The description by ``load_image_text_model``.
        device: The model's device.
        dtype: Number type of its weights.
        cache: Folder of the cache; None: no cache.
    """
    place = len(reader.looks)
    if cache is None:
        return _with(reader, Look(model.prepare_image)), ImageEncoder(model, place, device=device)
    how_read = {"apply_exif_orientation": reader.apply_exif_orientation, "skip_greyscale": reader.skip_greyscale}
    file = FeatureFile(cache / cache_name(facts, device=device.type, dtype=str(dtype), **how_read))
    look = Look(model.prepare_image, replace(file, timeout_seconds=_LOOK_UP_SECONDS))
    return _with(reader, look), ImageEncoder(model, place, device=device, cache=FeatureCache(file))


def _with(reader: ImageReader, look: Look) -> ImageReader:
    return replace(reader, looks=(*reader.looks, look))


class ImageEncoder:
    """An image-text model and its cache.

    Args:
        model: The model.
        place: Position of the model's view among those of an image.
        device: The device for the features.
        cache: The cache; None: no cache.
    """

    def __init__(self, model: ImageTextModel, place: int = 0, *, device: torch.device, cache: FeatureCache | None = None) -> None:
        self._model, self._place, self._device, self._cache = model, place, device, cache

    def encode(self, images: Sequence[ReadImage]) -> list[Tensor | UnreadableImage]:
        """Features (E,) float32, not normalised, or the reason why an image has none.

        Features that an earlier call stored are found here, even for images read before. So a resumed run encodes the same images
        together as an uninterrupted one, to the last bit.
        """
        views = [(image.digest, image.views[self._place]) for image in images]
        known = {digest: view.feature for digest, view in views if view.feature is not None}
        prepared = {digest: view.prepared for digest, view in views if digest not in known}
        if self._cache is not None:
            known |= self._cache.look_up(list(prepared))
        self._model.work.add("images_cached", len(known))
        self._model.work.add("images_encoded", 0)  # so that the manifest has the count even if it is 0
        features: dict[str, Tensor | UnreadableImage] = {
            digest: torch.from_numpy(feature).to(self._device) for digest, feature in known.items()
        }
        new = [digest for digest in prepared if digest not in known]
        encoded = dict(zip(new, self._encode([prepared[digest] for digest in new]), strict=True))
        if self._cache is not None:
            self._cache.keep({digest: row.cpu().numpy() for digest, row in encoded.items() if isinstance(row, Tensor)})
        features |= encoded
        return [features[image.digest] for image in images]

    def _encode(self, prepared: list[Any]) -> list[Tensor | UnreadableImage]:
        if not prepared:
            return []
        try:
            return list(self._model.encode_prepared(prepared))
        except (ValueError, MemoryError, RuntimeError) as error:  # one bad image: encode one by one to find it
            if is_worker_death(error):
                raise
            if len(prepared) > 1:
                return [self._encode([one])[0] for one in prepared]
            if type(error).__name__ == "OutOfMemoryError":
                raise
            return [cannot_take(error)]
