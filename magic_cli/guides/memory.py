"""A memory of captions: those that fit an image best show how people describe such images.

    neighbours t_1 ... t_n, the captions whose features have the largest cosine with the image's feature v
    memory     m = sum of softmax(cos(v, t_j) / temperature)_j t_j, at length 1
    share      w = weight, lowered if the neighbours' mean cosine is small (``sure`` and ``unsure``)
    mix        texts are compared with |v| (1 - w) v/|v| + w m (direction; its length is v's)
    replace    the same with weight 1
    beside     texts are compared with both: beta ((1 - w) f_v + w f_m)
    words      tokens of the neighbours join the candidates of each step, the likeliest first, if the model's p >= words_floor

With w = 0 and without words the image alone is left, to the token. Relatives in the literature, and what is different: docs/captioning-with-memory.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from magic_cli.decoding.guides import Guide, ImageGuide, ScaledGuide, WordsGuide
from magic_cli.decoding.magic import MagicSearch
from magic_cli.decoding.method import Method
from magic_cli.errors import SettingsError, require, require_weight
from magic_cli.guides.base import GuideSettings, Images
from magic_cli.retrieval.settings import COCO, IndexSettings, check_captions

if TYPE_CHECKING:
    from magic_cli.image_features.viewers import Viewers
    from magic_cli.retrieval.caption_index import CaptionIndex


class Use(Enum):
    """How the memory changes the image's part in a score."""

    mix = "mix"
    replace = "replace"
    beside = "beside"


@dataclass
class Memory(IndexSettings, GuideSettings):
    """A memory of captions. Its index is the one that CLIPRe builds from the same captions.

    Attributes:
        captions_file, split, limit, folder: As in ``CaptionSource``.
        neighbours: Captions that are recalled for an image, 1 to 1000.
        temperature: Temperature of the softmax over their cosines, 0.0001 to 1000: a small one trusts the best caption, a large
            one gives all the same weight.
        weight: Share of the memory, 0 (the image alone) or 1e-6 to 1.
        use: How the memory is combined with the image.
        unsure, sure: The share depends on the neighbours' mean cosine: it is 0 at ``unsure`` or below, ``weight`` at ``sure`` or
            above, and rises evenly in between; in [-1, 1], both or none (null: the share is always ``weight``).
        words: Tokens of the neighbours that may join the k candidates of a step, 0 to 1000.
        words_floor: Least model confidence in a token that joins, 1e-6 to 1.
    """

    setting: ClassVar[str] = "guides.memory"
    label: ClassVar[str] = "guides.memory"
    of_models: ClassVar[tuple[str, ...]] = ("unsure", "sure")

    captions_file: str | None = None
    split: str = "train"
    limit: int | None = None
    folder: str | None = None
    neighbours: int = 20
    temperature: float = 0.02
    weight: float = 0.3
    use: Use = Use.mix
    unsure: float | None = None
    sure: float | None = None
    words: int = 0
    words_floor: float = 0.001

    def __post_init__(self) -> None:
        self._index: CaptionIndex  # set by ``load``
        super().__post_init__()
        check_captions(self)
        require("neighbours", self.neighbours, at_least=1, limit=1000, prefix=self.setting)
        require("temperature", self.temperature, above=0, floor=0.0001, limit=1000, prefix=self.setting)
        require_weight("weight", self.weight, limit=1, prefix=self.setting)
        require("words", self.words, at_least=0, limit=1000, prefix=self.setting)
        require("words_floor", self.words_floor, above=0, floor=1e-6, at_most=1, prefix=self.setting)
        if (self.unsure is None) != (self.sure is None):
            raise SettingsError(f"{self.setting}.unsure={self.unsure} and {self.setting}.sure={self.sure}: set both, or neither")
        if self.unsure is not None and self.sure is not None:
            require("unsure", self.unsure, at_least=-1, at_most=1, prefix=self.setting)
            require("sure", self.sure, above=self.unsure, at_most=1, prefix=self.setting)

    @property
    def captions(self) -> str:
        """The name of the captions in runs."""
        return COCO if self.captions_file is None else Path(self.captions_file).name

    @property
    def most(self) -> int | None:
        return self.limit

    @property
    def is_active(self) -> bool:
        return self.weight > 0 or self.words > 0 or self.use is Use.replace

    @property
    def without_effect(self) -> tuple[str, ...]:
        return ("folder", "memory_gib", *(() if self.words else ("words", "words_floor")))

    def check(self, method: Method) -> None:
        if getattr(method, "beta", 0) == 0:
            raise SettingsError(
                "decoding.beta=0: the memory takes its share of it; set it above 0, or leave memory out of decoding.guides"
            )
        if self.words and not isinstance(method, MagicSearch):
            raise SettingsError(
                f"guides.memory.words={self.words}: only MAGIC's steps take words of the memory as candidates; "
                "use decoding=magic_memory, or set guides.memory.words=0"
            )

    def load(self) -> Self:
        from magic_cli.retrieval.caption_index import CaptionIndex

        loaded = super().load()
        loaded._index = CaptionIndex(self)
        return loaded

    def open(self, viewers: Viewers) -> dict[str, Any]:
        self._work = viewers.where.work
        with self._work.phase("index"):
            facts = self._index.open(viewers.list[0], viewers.where)
        captions = self._index.captions
        return {**facts, "captions_read": captions.read, "captions_of_known_images": captions.named}

    def steer(self, guides: list[Guide], images: Images) -> list[Guide]:
        from magic_cli.guides import recalling

        image, *others = guides
        if not isinstance(image, ImageGuide):
            raise TypeError(f"the first guide must be the image's, got {type(image).__name__}")
        with self._work.phase("memory"):
            found = recalling.recall(self._index, images, neighbours=self.neighbours, temperature=self.temperature)
            self._work.add("images_recalled", len(images.names))
            self._work.add("images_in_memory", found.images_excluded)
            self._work.add("captions_excluded", found.captions_excluded)
            share = image.vectors.new_tensor([self.share(cosine) for cosine in found.mean_cosines])
            first: Guide = replace(image, vectors=recalling.mixed(image.vectors, found.memory, share))
            if self.use is Use.beside:
                first, others = ScaledGuide(image, 1 - share), [ScaledGuide(replace(image, vectors=found.memory), share), *others]
            return [WordsGuide(first, found.texts, self.words, self.words_floor) if self.words else first, *others]

    def share(self, mean_cosine: float | None) -> float:
        """The share of the memory for an image with this mean cosine to its neighbours, in [0, 1]; None: it has no neighbours."""
        if mean_cosine is None:
            return 0.0
        weight = 1.0 if self.use is Use.replace else self.weight
        if self.unsure is None or self.sure is None:
            return weight
        return weight * min(1.0, max(0.0, (mean_cosine - self.unsure) / (self.sure - self.unsure)))
