"""A second image-text model: it sees the same image, and its score is added to that of the first one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from magic_cli.decoding.guides import Guide, ImageGuide
from magic_cli.errors import require_weight
from magic_cli.guides.base import GuideSettings, Images
from magic_cli.models.settings import DefaultImageTextModel

if TYPE_CHECKING:
    from magic_cli.image_features.viewers import Viewers


@dataclass
class SecondModel(GuideSettings, DefaultImageTextModel):
    """The model, with settings as in ``image_text_model``.

    Attributes:
        weight: Weight of its score (beta), 0 or 1e-6 to 1000.
    """

    setting: ClassVar[str] = "guides.second_model"
    group: ClassVar[str] = setting
    without_effect: ClassVar[tuple[str, ...]] = ("recommended",)
    instead: ClassVar[str] = "set guides.second_model.family=embedded guides.second_model.name=embedded"

    name: str | None = "openai/clip-vit-base-patch32"
    weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_weight("weight", self.weight, prefix=self.setting, limit=1000)

    @property
    def is_active(self) -> bool:
        return self.weight > 0

    def open(self, viewers: Viewers) -> dict[str, Any]:
        self._viewer = viewers.add(self)
        return self._viewer.facts

    def steer(self, guides: list[Guide], images: Images) -> list[Guide]:
        vectors = images.features[self._viewer.place]
        return [*guides, ImageGuide(self._viewer.model, vectors, self.weight, group=self.setting)]
