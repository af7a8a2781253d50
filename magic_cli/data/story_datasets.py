"""Data sets of titles. As in datasets.py, each is a dataclass of settings that loads its own records."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from magic_cli.data.dataset_settings import DatasetSettings
from magic_cli.data.images import RefusedImage, UnreadableImage, is_there, require_file
from magic_cli.data.named_images import typed_image
from magic_cli.data.paths import expanded
from magic_cli.data.stories import StoryRecord, clean_title, for_each_image, read_retrieved, read_titles, with_images
from magic_cli.errors import MOST_ITEMS, MagicError, SettingsError, require
from magic_cli.terminal.wording import counted


@dataclass
class StoryDataset(DatasetSettings):
    """Base class of all data sets of titles.

    Attributes:
        retrieved: File of ``magic retrieve-images query`` with the images of the titles.
        images_per_title: Stories per title, one for each of its best images, at least 1.
    """

    retrieved: str | None = None
    images_per_title: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        require("images_per_title", self.images_per_title, at_least=1, limit=MOST_ITEMS, prefix="dataset")

    def load(self, *, needs_image: bool) -> list[StoryRecord]:
        """The stories to write, in a fixed order.

        Args:
            needs_image: True: one record for each of a title's best images; false: one per title, without image.

        Raises:
            MagicError: Files are missing or malformed, or no title has an image and all need one.
        """
        records = self.read()[: self.limit]
        if not records:
            raise MagicError(f"dataset={self.name}: no titles found; {self.hint()}")
        if not needs_image:
            return records
        if self.retrieved:
            records = with_images(records, read_retrieved(expanded(self.retrieved), setting="dataset.retrieved"))
        elif not any(record.images for record in records):
            raise SettingsError(
                f"dataset.retrieved is not set, and no title of dataset={self.name} names an image; give the file that `magic "
                "retrieve-images query` wrote (--retrieved FILE), an image (--image FILE), or a method that looks at none "
                "(--decoding contrastive)"
            )
        records = for_each_image(records, self.images_per_title)
        known = [record.path for record in records if record.path is not None]
        if not any(map(is_there, known)):
            example = f"none of {counted(len(known), 'image')} exists, e.g. {known[0]}" if known else "none of them has an image"
            if known and isinstance(known[0], RefusedImage):
                example = f"no image can be read, e.g. {known[0]}, {known[0].why}"
            raise MagicError(
                f"dataset={self.name}: of {counted(len(records), 'title', 'titles and images')}, {example}; {self.hint()}"
            )
        return records

    def read(self) -> list[StoryRecord]:
        """All titles, with the images in their own records."""
        raise NotImplementedError(f"{type(self).__name__}.read")


@dataclass
class TitleList(StoryDataset):
    """Titles from the command line.

    Attributes:
        title: The titles.
        image: One image for all titles, or its address, instead of retrieved ones.
    """

    title: list[str] = field(default_factory=list)
    image: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.title:
            raise SettingsError(
                "nothing to write about: give --title TEXT, --titles FILE or --dataset rocstories (see magic story --help)"
            )
        if self.image and self.retrieved:
            raise SettingsError("dataset.image and dataset.retrieved both choose the images; set one of them to null")
        for title in self.title:
            clean_title(title, f"dataset.title={title!r}")

    def load(self, *, needs_image: bool) -> list[StoryRecord]:
        image = typed_image(self.image, "dataset.image") if self.image else None
        if needs_image and isinstance(image, Path):
            try:
                require_file(image)
            except UnreadableImage as reason:
                raise SettingsError(f"dataset.image={image}: {reason} (looked at {image.absolute()}); correct --image") from None
        return super().load(needs_image=needs_image)

    def read(self) -> list[StoryRecord]:
        titles = dict.fromkeys(clean_title(title, "dataset.title") for title in self.title)
        images = (typed_image(self.image, "dataset.image"),) if self.image else ()
        return [StoryRecord(title, title, title, images=images) for title in titles]

    def hint(self) -> str:
        return "check --retrieved: its queries must equal the titles"


@dataclass
class TitleFile(StoryDataset):
    """Titles in a file, with the stories that people wrote for them, if the file has them.

    Attributes:
        titles: ROCStories' ``title<TAB>story``, or JSON records ``{"title", "story"?, "id"?, "image"?}``.
        root: Folder of the images in the records, or its address; null: the folder of the file.
    """

    titles: str | None = None
    root: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.given("titles")

    def read(self) -> list[StoryRecord]:
        return read_titles(expanded(self.given("titles"), "dataset.titles"), images=self.root)

    def hint(self) -> str:
        return (
            "set dataset.titles to a file of title<TAB>story or of JSON lines, and dataset.retrieved to the images of its titles"
        )
