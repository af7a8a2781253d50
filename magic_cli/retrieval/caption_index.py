"""An index of captions for CLIPRe and for memories, built once for each model and set of captions."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from magic_cli.data.paths import expanded, user_cache
from magic_cli.errors import MagicError
from magic_cli.image_features.cache import cache_name
from magic_cli.retrieval.captions import load_captions, texts_digest
from magic_cli.retrieval.features import Features
from magic_cli.retrieval.search import Search, open_search
from magic_cli.retrieval.settings import CaptionSource
from magic_cli.retrieval.store import FeatureWriter
from magic_cli.terminal.progress import progress

if TYPE_CHECKING:
    from torch import Tensor

    from magic_cli.image_features.viewers import Circumstances, Viewer
    from magic_cli.models.image_text.image_text_model import ImageTextModel

_TEXTS_A_BATCH = 2048  # written together; a killed process loses at most so many
_TEXTS_AT_ONCE = 256  # encoded together; they have similar lengths, so that there is little padding


class CaptionIndex:
    """Finds captions for image features. Call ``open`` with a model before the first search.

    Args:
        settings: The captions and the kind of index.

    Attributes:
        captions: The captions; a search returns their positions.
        search: Finds the nearest captions.

    Raises:
        MagicError: The captions cannot be read.
    """

    search: Search

    def __init__(self, settings: CaptionSource) -> None:
        self._settings = settings
        self.captions = load_captions(settings)

    def open(self, viewer: Viewer, where: Circumstances) -> dict[str, Any]:
        """Open the index, and build it first if needed; returns what the manifest says about the captions.

        Args:
            viewer: The image-text model that made the image features.
            where: What the model runs on.
        """
        settings, texts, facts = self._settings, self.captions.texts, viewer.facts
        digest = texts_digest(texts)
        circumstances = {"device": where.device.type, "dtype": str(where.dtype), "texts": digest}
        folder = user_cache("captions") / Path(cache_name(facts, **circumstances, features=settings.features)).stem
        if settings.folder:
            folder = expanded(settings.folder, f"{settings.setting}.folder")
        identity = {"kind": "texts", "model": {**facts, "logit_scale": None}, **circumstances}
        build_text_features(settings, folder, texts, viewer.model, identity)
        self.search = open_search(Features(folder, f"{settings.setting}.folder"), settings.index_settings, threads=where.threads)
        return {"name": settings.captions, "count": len(texts), "sha256": digest}

    def best(self, features: Tensor, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Cosines (B, count) and numbers of the best captions for features (B, E), as ``Search.best``."""
        return self.search.best(features.float().cpu().numpy(), count)


def build_text_features(
    settings: CaptionSource, folder: Path, texts: Sequence[str], model: ImageTextModel, identity: Mapping[str, Any]
) -> None:
    """Encode texts into a folder of features; continues where an earlier build stopped.

    Raises:
        MagicError: A text has no feature, or the folder belongs to something else.
    """
    with FeatureWriter(folder, f"{settings.setting}.folder", identity, dtype=settings.features) as store:
        if store.is_complete:
            return
        done = store.inputs_done
        rest = f"{len(texts) - done:,} of {len(texts):,}" if done else f"{len(texts):,}"
        print(f"magic: {settings.label}: encoding {rest} captions, once; the index is kept in {folder}", file=sys.stderr)
        with progress(len(texts), "index", "text", done=done) as bar:
            for start in range(done, len(texts), _TEXTS_A_BATCH):
                batch = texts[start : start + _TEXTS_A_BATCH]
                features = encode_by_length(model, batch)
                lengths = np.linalg.norm(features, axis=1)
                if not (np.isfinite(lengths) & (lengths > 0)).all():
                    odd = batch[int(np.argmin(np.isfinite(lengths) & (lengths > 0)))]
                    raise MagicError(
                        f"{settings.setting}.captions: the image-text model gives no feature for {odd[:60]!r}; set run.dtype=float32"
                    )
                store.add(features, [{"text": text} for text in batch], [], inputs=len(batch))
                bar.update(len(batch))
        store.finish()


def encode_by_length(
    model: ImageTextModel, texts: Sequence[str], *, done: Callable[[int], None] = lambda count: None
) -> np.ndarray:
    """(N, E) float32 features in the order of the texts; texts of similar length are encoded together.

    ``done`` is called with the number of texts after each group.
    """
    order = sorted(range(len(texts)), key=lambda i: (len(texts[i]), i))
    rows: list[Any] = [None] * len(texts)
    for start in range(0, len(order), _TEXTS_AT_ONCE):
        part = order[start : start + _TEXTS_AT_ONCE]
        for place, feature in zip(part, model.encode_texts([texts[i] for i in part]).cpu().numpy(), strict=True):
            rows[place] = feature
        done(len(part))
    return np.stack(rows)
