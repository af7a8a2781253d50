"""The base of guides beside the image: a dataclass of settings that changes the list of guides for each batch.

To add one: a dataclass here with ``steer`` (and ``open``, ``load`` if it needs models or files), a field in ``settings.py``, its
settings with comments in ``configs/guides/default.yaml``, and a test file. Do not import torch at the top: settings load fast.
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
        features: (B, E) from each image-text model of the run, not normalised; ``Viewer.place`` is a model's position.
        names: For each image the names that no other image has (``data.image_names.identities``).
    """

    features: tuple[Tensor, ...]
    names: list[tuple[str, ...]]


@dataclass
class GuideSettings:
    """Base class of the guides that ``decoding.guides`` can name beside the image."""

    setting: ClassVar[str]
    """What the user calls the group, ``guides.`` and the name of its field in ``GuidesSettings``."""
    of_models: ClassVar[tuple[str, ...]] = ()
    """Settings with values that models recommend."""

    @property
    def is_active(self) -> bool:
        """Whether the guide changes anything; False: it is left out, as if it were not named."""
        return True

    @property
    def without_effect(self) -> tuple[str, ...]:
        """Settings that cannot change a text."""
        return ()

    def check(self, method: Method) -> None:
        """Refuse decoding methods that the guide does not support; by default none.

        Raises:
            SettingsError: One line that names the setting.
        """

    def load(self) -> Self:
        """Read the files that the guide needs; returns a copy that can hold them. Called once per run, before models load.

        Raises:
            MagicError: Files are missing or damaged.
        """
        return copy.copy(self)

    def open(self, viewers: Viewers) -> dict[str, Any]:
        """Prepare the guide once the image-text models are loaded; returns its description for the manifest."""
        return {}

    def steer(self, guides: list[Guide], images: Images) -> list[Guide]:
        """The guides of a batch including this one, given those without it; the first of these is the image's (``ImageGuide``).

        A new guide is appended. A guide that changes what texts are compared with replaces the one before.
        """
        raise NotImplementedError(f"{type(self).__name__}.steer")
