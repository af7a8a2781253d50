"""The settings that all data sets share."""

from __future__ import annotations

from dataclasses import dataclass

from magic_cli.errors import MOST_ITEMS, SettingsError, require


@dataclass
class DatasetSettings:
    """Base class of all data sets: images, titles, and texts and images in turn.

    Attributes:
        name: The name in runs and tables.
        limit: Only the first so many items, at least 1; null: all.
        skip_greyscale: Leave out single-channel images, as the released code does.
        apply_exif_orientation: Turn photos upright that carry an EXIF orientation.
    """

    name: str
    limit: int | None = None
    skip_greyscale: bool = False
    apply_exif_orientation: bool = True

    def __post_init__(self) -> None:
        if self.limit is not None:
            require("limit", self.limit, at_least=1, limit=MOST_ITEMS, prefix="dataset")

    def given(self, setting: str) -> str:
        """What a setting names that must name something, such as a file.

        Raises:
            SettingsError: It is null or empty.
        """
        value = getattr(self, setting)
        if not value:
            raise SettingsError(f"dataset.{setting} is not set; {self.hint()}")
        return value

    def hint(self) -> str:
        """What the user can do if a setting is missing, or nothing is found."""
        raise NotImplementedError(f"{type(self).__name__}.hint")

    def states(self) -> dict[str, str]:
        """Of the files that hold many images, what tells whether they have changed: while one has not, nor have its images."""
        return {}
