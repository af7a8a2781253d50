"""CLIPRe, the paper's retrieval baseline: the training caption that fits the image best, word for word.

No language model takes part. The settings are here; what uses models is in caption_retriever.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from magic_cli.errors import MOST_ITEMS, SettingsError, require
from magic_cli.retrieval.settings import IndexSettings, check_choice

COCO = "coco"
RELEASED, FULL = "released-128", "full"
RELEASED_CAPTIONS = 128


@dataclass
class CaptionRetrieval(IndexSettings):
    """Settings of CLIPRe.

    Attributes:
        captions: What runs and tables call the captions: ``coco`` for COCO's training captions, which need no file.
        captions_file: Karpathy JSON, COCO captions JSON, JSON lines or plain lines; null: COCO's training captions that
            travel inside pycocoevalcap.
        split: Split of a Karpathy file, or of a COCO captions JSON whose images have splits.
        index: ``full``, or ``released-128``: the released loop never advanced, so that it knew the first 128 captions only.
        limit: Only the first so many captions, at least 1; null: all.
        top_m: So many best captions, with scores, are kept in predictions.jsonl, at least 1.
        folder: Folder of the index; null: one for each model and set of captions below the user's cache.
    """

    setting: ClassVar[str] = "decoding"
    needs_image: ClassVar[bool] = True
    needs_language_model: ClassVar[bool] = False
    is_sampled: ClassVar[bool] = False
    without_effect: ClassVar[tuple[str, ...]] = ("folder", "memory_gib")
    """Settings that cannot change a caption."""

    captions: str = COCO
    captions_file: str | None = None
    split: str = "train"
    index: str = FULL
    limit: int | None = None
    top_m: int = 5
    folder: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("decoding.index", self.index, (FULL, RELEASED))
        require("top_m", self.top_m, at_least=1, limit=1_000_000, prefix="decoding")
        if self.limit is not None:
            require("limit", self.limit, at_least=1, limit=MOST_ITEMS, prefix="decoding")
        if self.captions_file is None and self.captions != COCO:
            raise SettingsError(
                f"decoding.captions={self.captions}: set decoding.captions_file to their file; only {COCO}'s training captions come along"
            )
