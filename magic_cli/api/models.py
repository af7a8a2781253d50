"""The models of a ``Captioner``: loaded once, and prepared for each request."""

from __future__ import annotations

import json
from collections import OrderedDict
from typing import Any

from magic_cli.image_features.reading import ImageReader
from magic_cli.models.shelf import Shelf
from magic_cli.models.work_counter import WorkCounter
from magic_cli.runs.decoder import Decoder
from magic_cli.runs.identity import as_plain
from magic_cli.runs.kinds import Item, WritingTask

_KEPT = 4
"""How many decoders are kept; each may hold remembered steps (``run.step_memory``) and an index of captions."""
_FREE = ("seed", "repeat", "trace", "dir")
"""Settings of a run that may differ between calls of the same decoder."""


class LoadedModels:
    """Loaded models and decoders.

    Attributes:
        facts: The description of each model, as in manifest.json.
        circumstances: Facts of the run, as in manifest.json, such as the device.
    """

    def __init__(self) -> None:
        self.work, self._shelf = WorkCounter(), Shelf()
        self.facts: dict[str, Any] = {}
        self.circumstances: dict[str, Any] = {}
        self._decoders: OrderedDict[str, Decoder] = OrderedDict()

    def load(self, settings: Any) -> None:
        """Load the language model and the image-text model.

        Raises:
            MagicError: A model cannot be loaded.
        """
        import torch

        from magic_cli.models.loading import resolve_device

        self.facts |= self._shelf.load_both(settings, self.work)
        self.record(device=str(resolve_device(settings.run.device)), threads=torch.get_num_threads())

    def decoder(self, settings: Any, task: WritingTask, reader: ImageReader, first: Item) -> Decoder:
        """A prepared decoder for these settings.

        Raises:
            MagicError: The models cannot do what the settings ask.
        """
        key = _key(settings)
        if key in self._decoders:
            self._decoders.move_to_end(key)
            self._decoders[key].go_on(settings, task)
            return self._decoders[key]
        decoder = Decoder(settings, task, reader, self.work, self._shelf)
        decoder.load(self, first)
        self._decoders[key] = decoder
        if len(self._decoders) > _KEPT:
            self._decoders.popitem(last=False)
        return decoder

    def use_models(self, models: dict[str, Any]) -> None:
        self.facts |= models

    def record(self, **facts: Any) -> None:
        self.circumstances |= facts


def _key(settings: Any) -> str:
    """The settings that decoders are distinguished by."""
    plain = as_plain(settings)
    for name in _FREE:
        del plain["run"][name]
    dataset = plain.pop("dataset")
    looks = {name: dataset[name] for name in ("apply_exif_orientation", "skip_greyscale")}
    return json.dumps({**plain, **looks}, sort_keys=True, default=str)
