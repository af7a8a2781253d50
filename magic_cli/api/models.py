"""The models of a ``Captioner``: loaded once, and made ready for whatever is asked for next."""

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
"""Decoders; each may hold the steps that it remembers (``run.step_memory``) and an index of captions."""
_FREE = ("seed", "repeat", "trace", "dir")
"""Settings of a run that a decoder takes as they come."""


class LoadedModels:
    """Models and decoders that stay.

    Attributes:
        facts: What manifest.json would say of each model.
        circumstances: What it would say of the run, such as the device.
    """

    def __init__(self) -> None:
        self.work, self._shelf = WorkCounter(), Shelf()
        self.facts: dict[str, Any] = {}
        self.circumstances: dict[str, Any] = {}
        self._decoders: OrderedDict[str, Decoder] = OrderedDict()

    def load(self, settings: Any) -> None:
        """Load the language model and the image-text model.

        Raises:
            MagicError: One cannot be had or read.
        """
        import torch

        from magic_cli.models.loading import resolve_device

        run = settings.run
        if run.threads is not None:
            torch.set_num_threads(run.threads)
        where = {"device": resolve_device(run.device), "dtype": getattr(torch, run.dtype.value), "work": self.work}
        for name, load in (
            ("language_model", self._shelf.language_model),
            ("image_text_model", self._shelf.image_text_model),
        ):
            self.facts[name] = load(getattr(settings, name), **where)[1]
        self.record(device=str(where["device"]), threads=torch.get_num_threads())

    def decoder(self, settings: Any, task: WritingTask, reader: ImageReader, first: Item) -> Decoder:
        """What decodes by these settings, ready.

        Raises:
            MagicError: The models cannot do what is asked.
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
    """What decoders differ by."""
    plain = as_plain(settings)
    for name in _FREE:
        del plain["run"][name]
    dataset = plain.pop("dataset")
    looks = {name: dataset[name] for name in ("apply_exif_orientation", "skip_greyscale")}
    return json.dumps({**plain, **looks}, sort_keys=True, default=str)
