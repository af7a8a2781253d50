"""CLIPRe, the paper's retrieval baseline: the training caption that fits the image best, word for word.

It uses no language model. The class holds the settings and is the method; caption_index.py uses the models.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from magic_cli.decoding.method import WholeTexts
from magic_cli.decoding.request import Request, Written
from magic_cli.errors import MagicError, require
from magic_cli.retrieval.settings import COCO, IndexSettings, check_captions, check_choice

if TYPE_CHECKING:
    from magic_cli.retrieval.caption_index import CaptionIndex

RELEASED, FULL = "released-128", "full"
_RELEASED_CAPTIONS = 128
_DECIMALS = 6


@dataclass
class CaptionRetrieval(IndexSettings, WholeTexts):
    """CLIPRe.

    Attributes:
        captions, captions_file, split, limit, folder: As in ``CaptionSource``.
        index: ``full``, or ``released-128``: only the first 128 captions, which the released code's broken loop never got past.
        top_m: How many of the best captions are kept in predictions.jsonl, with their scores; at least 1.
    """

    setting: ClassVar[str] = "decoding"
    label: ClassVar[str] = "decoding=clipre"
    needs_image: ClassVar[bool] = True
    needs_language_model: ClassVar[bool] = False
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
        self._index: CaptionIndex  # set by ``load``
        super().__post_init__()
        check_choice("decoding.index", self.index, (FULL, RELEASED))
        require("top_m", self.top_m, at_least=1, limit=1_000_000, prefix="decoding")
        check_captions(self)

    @property
    def most(self) -> int | None:
        return self.limit if self.index == FULL else min(self.limit or _RELEASED_CAPTIONS, _RELEASED_CAPTIONS)

    def load(self) -> Self:
        from magic_cli.retrieval.caption_index import CaptionIndex

        loaded = super().load()
        loaded._index = CaptionIndex(self)
        return loaded

    def open(self, viewers: Any) -> dict[str, Any]:
        self._work = viewers.where.work
        with self._work.phase("index"):
            return {"captions": self._index.open(viewers.list[0], viewers.where)}

    def write(self, request: Request) -> list[Written]:
        """The best caption for every image, and the ``top_m`` best with their cosines.

        Raises:
            MagicError: An approximate index finds nothing.
        """
        with self._work.phase("retrieval"):
            scores, numbers = self._index.best(request.image_guide("decoding=clipre").vectors, self.top_m)
        if numbers[:, 0].min() < 0:
            raise MagicError("decoding.nprobe, decoding.ef: the index finds no caption for an image; set them higher")
        return [self._written(*found) for found in zip(numbers, scores, strict=True)]

    def _written(self, numbers: Any, scores: Any) -> Written:
        texts = self._index.captions.texts
        best = [
            {"caption": texts[number], "score": round(float(score), _DECIMALS)}
            for number, score in zip(numbers, scores, strict=True)
            if number >= 0
        ]
        return Written([], text=best[0]["caption"], details={"retrieved": best})
