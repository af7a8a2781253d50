"""CLIPRe's index, built once for each model and set of captions, and the captions that it finds for image features."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from magic_cli.data.paths import user_cache
from magic_cli.errors import MagicError
from magic_cli.image_features.cache import cache_name
from magic_cli.terminal.progress import progress
from magic_cli.retrieval.captions import load_captions, texts_digest
from magic_cli.retrieval.clipre import CaptionRetrieval
from magic_cli.retrieval.features import Features
from magic_cli.retrieval.search import open_search
from magic_cli.retrieval.store import FeatureWriter
from magic_cli.terminal.wording import counted

if TYPE_CHECKING:
    from torch import Tensor

    from magic_cli.models.image_text.image_text_model import ImageTextModel

_TEXTS_A_BATCH = 2048  # written at once; a kill loses no more
_TEXTS_AT_ONCE = 256  # encoded at once, of similar length, so that little is padding
_DECIMALS = 6


class CaptionRetriever:
    """Turns image features into captions. To be opened with a model before its first use.

    Args:
        settings: Which captions, which index.

    Raises:
        MagicError: The captions cannot be had.
    """

    def __init__(self, settings: CaptionRetrieval) -> None:
        self._settings = settings
        self._texts = load_captions(settings)

    def open(self, model: ImageTextModel, facts: Mapping[str, Any], *, where: Mapping[str, Any], threads: int | None) -> dict[str, Any]:
        """Open the index, which is built first if it is not there; returns what the manifest says of the captions.

        Args:
            model: The image-text model.
            facts: What ``load_image_text_model`` says of it.
            where: Its device and dtype.
            threads: Threads of FAISS; None: it decides.
        """
        settings, digest = self._settings, texts_digest(self._texts)
        circumstances = {name: str(value) for name, value in where.items()} | {"texts": digest}
        folder = user_cache("captions") / Path(cache_name(facts, **circumstances, features=settings.features)).stem
        if settings.folder:
            folder = Path(settings.folder).expanduser()
        identity = {"kind": "texts", "model": {**facts, "logit_scale": None}, **circumstances}
        build_text_features(folder, self._texts, model, identity, dtype=settings.features)
        self._search = open_search(Features(folder, "decoding.folder"), settings, threads=threads)
        return {"name": settings.captions, "count": len(self._texts), "sha256": digest}

    def retrieve(self, features: Tensor) -> list[list[dict[str, Any]]]:
        """For each image of (B, E) its best captions, best first: ``[{"caption", "score"}]``; the score is the cosine.

        Raises:
            MagicError: An approximate index finds nothing.
        """
        scores, numbers = self._search.best(features.float().cpu().numpy(), self._settings.top_m)
        if numbers[:, 0].min() < 0:
            raise MagicError("decoding.nprobe, decoding.ef: the index finds no caption for an image; set them higher")
        return [
            [
                {"caption": self._texts[number], "score": round(float(score), _DECIMALS)}
                for number, score in zip(*found, strict=True)
                if number >= 0
            ]
            for found in zip(numbers, scores, strict=True)
        ]


def build_text_features(folder: Path, texts: Sequence[str], model: ImageTextModel, identity: Mapping[str, Any], *, dtype: str) -> None:
    """Encode texts into a folder of features; what is done is not done again.

    Raises:
        MagicError: A text has no feature, or the folder belongs to something else.
    """
    with FeatureWriter(folder, "decoding.folder", identity, dtype=dtype) as store:
        if store.is_complete:
            return
        done = store.inputs_done
        rest = f"{len(texts) - done:,} of {len(texts):,}" if done else f"{len(texts):,}"
        print(f"magic: decoding=clipre: encoding {counted(rest, 'caption')}, once; the index is kept in {folder}", file=sys.stderr)
        with progress(len(texts), "index", "text", done=done) as bar:
            for start in range(done, len(texts), _TEXTS_A_BATCH):
                batch = texts[start : start + _TEXTS_A_BATCH]
                features = encode_by_length(model, batch)
                lengths = np.linalg.norm(features, axis=1)
                if not (np.isfinite(lengths) & (lengths > 0)).all():
                    odd = batch[int(np.argmin(np.isfinite(lengths) & (lengths > 0)))]
                    raise MagicError(f"decoding.captions: the image-text model gives no feature for {odd[:60]!r}; set run.dtype=float32")
                store.add(features, [{"text": text} for text in batch], [], inputs=len(batch))
                bar.update(len(batch))
        store.finish()


def encode_by_length(model: ImageTextModel, texts: Sequence[str]) -> np.ndarray:
    """(N, E) float32 features in the order of the texts; those of similar length are encoded together."""
    order = sorted(range(len(texts)), key=lambda i: (len(texts[i]), i))
    rows: list[Any] = [None] * len(texts)
    for start in range(0, len(order), _TEXTS_AT_ONCE):
        part = order[start : start + _TEXTS_AT_ONCE]
        for place, feature in zip(part, model.encode_texts([texts[i] for i in part]).cpu().numpy(), strict=True):
            rows[place] = feature
    return np.stack(rows)
