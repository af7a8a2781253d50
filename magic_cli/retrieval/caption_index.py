"""An index of captions for CLIPRe and for memories, built once for each model and set of captions."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
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

_TEXTS_A_PIECE = 2048  # written together; a killed process loses at most so many
_TEXTS_AT_ONCE = 256  # encoded together; they have similar lengths, so that there is little padding


class Pieces(Sequence[Sequence[str]]):
    """Texts in the pieces that are encoded and written one by one."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts

    def __len__(self) -> int:
        return -(-len(self._texts) // _TEXTS_A_PIECE)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[number] for number in range(len(self))[place]]
        start = range(len(self))[place] * _TEXTS_A_PIECE
        return self._texts[start : start + _TEXTS_A_PIECE]


Encode = Callable[[Pieces], Iterable[np.ndarray]]
"""Gives the features (N, E) of each piece, in their order."""


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
        settings, texts = self._settings, self.captions.texts
        folder = self.build(
            viewer.facts,
            {"device": where.device.type, "dtype": str(where.dtype)},
            lambda pieces: (encode_by_length(viewer.model, piece) for piece in pieces),
        )
        self.search = open_search(Features(folder, f"{settings.setting}.folder"), settings.index_settings, threads=where.threads)
        return {"name": settings.captions, "count": len(texts), "sha256": texts_digest(texts)}

    def build(self, model: Mapping[str, Any], where: Mapping[str, str], encode: Encode) -> Path:
        """Build the index, unless it is there; returns its folder.

        Args:
            model: The description of the image-text model.
            where: The kind of ``device`` that it runs on, and its ``dtype``.
            encode: Encodes the captions that are not in the index yet.

        Raises:
            MagicError: A caption has no feature, or the folder belongs to something else.
        """
        settings, texts = self._settings, self.captions.texts
        circumstances = {**where, "texts": texts_digest(texts)}
        if settings.folder:
            folder = expanded(settings.folder, f"{settings.setting}.folder")
        else:
            folder = user_cache("captions") / Path(cache_name(model, **circumstances, features=settings.features)).stem
        build_text_features(
            settings, folder, texts, encode, {"kind": "texts", "model": {**model, "logit_scale": None}, **circumstances}
        )
        return folder

    def best(self, features: Tensor, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Cosines (B, count) and numbers of the best captions for features (B, E), as ``Search.best``."""
        return self.search.best(features.float().cpu().numpy(), count)


def build_text_features(
    settings: CaptionSource, folder: Path, texts: Sequence[str], encode: Encode, identity: Mapping[str, Any]
) -> None:
    """Encode texts into a folder of features; continues where an earlier build stopped.

    Args:
        settings: The captions.
        folder: Where the features are kept.
        texts: All texts.
        encode: Encodes those that have no feature yet, in pieces that do not depend on where an earlier build stopped.
        identity: All that the features depend on.

    Raises:
        MagicError: A text has no feature, or the folder belongs to something else.
    """
    with FeatureWriter(folder, f"{settings.setting}.folder", identity, dtype=settings.features) as store:
        if store.is_complete:
            return
        done = store.inputs_done
        rest = f"{len(texts) - done:,} of {len(texts):,}" if done else f"{len(texts):,}"
        print(
            f"magic: {settings.label}: encoding {rest} {'caption' if len(texts) == 1 else 'captions'}, once; the index is kept in {folder}",
            file=sys.stderr,
        )
        with progress(len(texts), "index", "text", done=done) as bar:
            pieces = Pieces(texts[done:])
            for batch, features in zip(pieces, encode(pieces), strict=True):
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
