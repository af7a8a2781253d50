"""Answers queries with the index of a bank of images; `runs/image_bank.py` builds it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from magic_cli.errors import MagicError
from magic_cli.models.loading import load_image_text_model, resolve_device
from magic_cli.models.threads import use_threads
from magic_cli.models.work_counter import WorkCounter
from magic_cli.provenance import differences
from magic_cli.retrieval.caption_index import encode_by_length
from magic_cli.retrieval.features import Features
from magic_cli.retrieval.image_settings import RetrieveImagesSettings
from magic_cli.retrieval.search import open_search
from magic_cli.terminal.progress import progress

if TYPE_CHECKING:
    from magic_cli.models.image_text.image_text_model import ImageTextModel

_DECIMALS = 6


def load_model(settings: RetrieveImagesSettings, work: WorkCounter) -> tuple[ImageTextModel, dict[str, Any], dict[str, Any]]:
    """Who looks: the model, what an index says of it, and its device and type.

    Raises:
        MagicError: It cannot be had or read.
    """
    use_threads(settings.run.threads)
    where = {"device": resolve_device(settings.run.device), "dtype": getattr(torch, settings.run.dtype.value)}
    model, facts = load_image_text_model(settings.image_text_model, **where, work=work)
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
        self._model, self.model_facts, _ = load_model(settings, WorkCounter())
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
