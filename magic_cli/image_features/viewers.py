"""The image-text models of a run: every image file is read once for all of them, and encoded by each."""

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
    """What models run on, and where features of images are kept.

    Attributes:
        device: Where models run.
        dtype: Type of their weights.
        threads: CPU threads; None: the libraries decide.
        cache: Folder of image features; None: they are not kept.
        work: Where work is counted.
        shelf: Where models stay that are loaded.
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
        facts: What the manifest says of it.
        place: Which of an image's features are its own.
    """

    model: ImageTextModel
    facts: dict[str, Any]
    place: int


class Viewers:
    """All image-text models of a run, in the order in which they were added; the first is the ``image_text_model``.

    Attributes:
        reader: Reads images for all of them.
        where: What they run on.
        list: The models.
    """

    def __init__(self, reader: ImageReader, where: Circumstances) -> None:
        self.reader, self.where = reader, where
        self.list: list[Viewer] = []
        self._encoders: list[ImageEncoder] = []

    def add(self, settings: Any) -> Viewer:
        """Load the model of ``ImageTextModelSettings``; from now on it looks at every image.

        Raises:
            MagicError: It cannot be had or read.
        """
        where = {"device": self.where.device, "dtype": self.where.dtype}
        model, facts = self.where.shelf.image_text_model(settings, **where, work=self.where.work)
        self.reader, encoder = connect(self.reader, model, facts, cache=self.where.cache, **where)
        self._encoders.append(encoder)
        self.list.append(Viewer(model, facts, len(self.list)))
        return self.list[-1]

    def encode(self, images: Sequence[ReadImage | None]) -> list[tuple[Tensor, ...] | UnreadableImage]:
        """Of each image its features (E,) by every model, not normalised, or why it has none; nothing where nobody looks."""
        found: list[tuple[Tensor, ...] | UnreadableImage] = [() for _ in images]
        for encoder in self._encoders:
            open_places = [place for place, features in enumerate(found) if not isinstance(features, UnreadableImage)]
            for place, outcome in zip(open_places, encoder.encode([images[place] for place in open_places]), strict=True):
                found[place] = outcome if isinstance(outcome, UnreadableImage) else (*found[place], outcome)
        return found
