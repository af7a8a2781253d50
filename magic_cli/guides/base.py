"""What a guide beside the image is: a dataclass of settings that, for each batch, changes the list of guides that steer its texts.

To add one: a dataclass here with ``steer`` (and ``open``, ``load`` where it needs models or files), one field in ``settings.py``, its
settings with their comments in ``configs/guides/default.yaml``, one test file. No torch at the top: settings load fast.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from magic_cli.decoding.guides import Guide
from magic_cli.decoding.method import Method

if TYPE_CHECKING:
    from torch import Tensor

    from magic_cli.image_features.viewers import Viewers


@dataclass(frozen=True)
class Images:
    """The B images of a batch.

    Attributes:
        features: (B, E) by each image-text model of the run, not normalised; ``Viewer.place`` says which are whose.
        names: For each image a name that no other image has (``data.image_names.identities``).
    """

    features: tuple[Tensor, ...]
    names: list[tuple[str, ...]]


@dataclass
class GuideSettings:
    """Base of the guides that ``decoding.guides`` can name beside the image."""

    setting: ClassVar[str]
    """What the user calls the group, ``guides.`` and the name of its field in ``GuidesSettings``."""
    of_models: ClassVar[tuple[str, ...]] = ()
    """Settings whose values the models recommend."""

    @property
    def is_active(self) -> bool:
        """Whether it changes anything; False: it is left out as if it were not named."""
        return True

    @property
    def without_effect(self) -> tuple[str, ...]:
        """Settings that cannot change a text."""
        return ()

    def check(self, method: Method) -> None:
        """Refuse a decoding method that the guide cannot work with; here: none.

        Raises:
            SettingsError: One line that names the setting.
        """

    def load(self) -> Self:
        """The object that steers with these settings: a copy, which may hold what ``open`` needs. Called once a run, before torch and the models are loaded.

        Raises:
            MagicError: Files that the guide reads are missing or damaged.
        """
        return copy.copy(self)

    def open(self, viewers: Viewers) -> dict[str, Any]:
        """Get ready to steer, when the image-text model is there; returns what the manifest says of the guide."""
        return {}

    def steer(self, guides: list[Guide], images: Images) -> list[Guide]:
        """What steers a batch with this guide, given what steers it without; the first is the image's (``ImageGuide``).

        A new guide is appended; one that changes what texts are compared with puts another in the place of that guide.
        """
        raise NotImplementedError(f"{type(self).__name__}.steer")
