"""The image-text models of a run: every image file is read once, and each model encodes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from magic_cli.data.images import UnreadableImage
from magic_cli.image_features.encoding import ImageEncoder, connect
from magic_cli.image_features.reading import ImageReader, ReadImage
from magic_cli.models.shelf import Shelf
from magic_cli.models.work_counter import WorkCounter

if TYPE_CHECKING:
    from magic_cli.models.image_text.image_text_model import ImageTextModel


@dataclass(frozen=True)
class Circumstances:
    """What models run on, and where image features are kept.

    Attributes:
        device: The device of the models.
        dtype: Number type of their weights.
        threads: CPU threads; None: the libraries decide.
        cache: Folder of image features; None: they are not kept.
        work: Counts the work done.
        shelf: Keeps loaded models.
    """

    device: torch.device
    dtype: torch.dtype
    threads: int | None
    cache: Path | None
    work: WorkCounter
    shelf: Shelf = field(default_factory=Shelf)


@dataclass(frozen=True)
class Viewer:
    """One image-text model.

    Attributes:
        model: The model.
        facts: The model's description for the manifest.
        place: Position of the model's features among those of an image.
    """

    model: ImageTextModel
    facts: dict[str, Any]
    place: int


class Viewers:
    """All image-text models of a run, in the order in which they were added; the first is ``image_text_model``.

    Attributes:
        reader: Reads images for all of them.
        where: What the models run on.
        list: The models.
    """

    def __init__(self, reader: ImageReader, where: Circumstances) -> None:
        self.reader, self.where = reader, where
        self.list: list[Viewer] = []
        self._encoders: list[ImageEncoder] = []

    def add(self, settings: Any) -> Viewer:
        """Load the model of ``ImageTextModelSettings``; from now on it encodes every image.

        Raises:
            MagicError: The model cannot be loaded.
        """
        where: dict[str, Any] = {"device": self.where.device, "dtype": self.where.dtype}
        model, facts = self.where.shelf.image_text_model(settings, **where, work=self.where.work)
        self.reader, encoder = connect(self.reader, model, facts, cache=self.where.cache, **where)
        self._encoders.append(encoder)
        self.list.append(Viewer(model, facts, len(self.list)))
        return self.list[-1]

    def encode(self, images: Sequence[ReadImage | None]) -> list[tuple[Tensor, ...] | UnreadableImage]:
        """For each image its features (E,) by every model, not normalised, or the reason why it has none; None stays empty."""
        found: list[tuple[Tensor, ...] | UnreadableImage] = [() for _ in images]
        for encoder in self._encoders:
            readable = [
                (place, image, features)
                for place, (image, features) in enumerate(zip(images, found, strict=True))
                if image is not None and not isinstance(features, UnreadableImage)
            ]
            outcomes = encoder.encode([image for _, image, _ in readable])
            for (place, _, features), outcome in zip(readable, outcomes, strict=True):
                found[place] = outcome if isinstance(outcome, UnreadableImage) else (*features, outcome)
        return found
