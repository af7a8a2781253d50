"""Data sets of images. Each is a dataclass of settings that loads its own records.

To add a data set: one class with ``read``, one line in ``runs/choices.py``, one YAML in ``configs/dataset/`` whose line
``# For: magic caption`` says which command takes it, one test.
"""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from magic_cli.data.annotations import AnnotatedImage, coco_images, karpathy_images
from magic_cli.data.dataset_settings import DatasetSettings
from magic_cli.data.image_folders import ImageFolder, find_images
from magic_cli.data.images import IMAGE_SUFFIXES, RefusedImage, StoredImage
from magic_cli.data.json_files import read_json
from magic_cli.data.named_images import ImageRoot, typed_image
from magic_cli.data.paths import expanded, other_kind
from magic_cli.data.place_names import is_address, local, name_of
from magic_cli.data.records import ImageRecord, check_unique
from magic_cli.data.remote_folders import RemoteFolder, find_remote_images
from magic_cli.data.stored_images import RemoteImage
from magic_cli.errors import MagicError, SettingsError

_PACKED = {".tar": "shards", ".parquet": "parquet"}
"""Files that hold many images, and the data set that reads them."""


def _for_packed(suffix: str, place: str) -> str:
    return f"for the images in {suffix} files, type --dataset {_PACKED[suffix]} {shlex.quote(f'dataset.files={place}')}"


@dataclass
class Dataset(DatasetSettings):
    """Base class of all data sets of images."""

    def load(self) -> Sequence[ImageRecord]:
        """The records, in a fixed order.

        Raises:
            MagicError: Files are missing or malformed; names the setting and where it looked.
        """
        records = self.read()
        check_unique(records, f"dataset={self.name}", self.remedy_of_ids())
        if not records:
            raise MagicError(f"dataset={self.name}: {'; '.join(['no images found', *self.notes(), self.hint()])}")
        records = records if self.limit is None else records[: self.limit]
        first = records[0].path
        if isinstance(first, RefusedImage) and all(isinstance(record.path, RefusedImage) for record in records):
            raise MagicError(f"dataset={self.name}: its images cannot be read, e.g. {first}, {first.why}")
        if not any(isinstance(record.path, StoredImage) or os.path.exists(record.path) for record in records):
            which = f"none of its {len(records)} images exists, e.g." if len(records) > 1 else "its image does not exist:"
            raise MagicError(f"dataset={self.name}: {which} {first}; {self.hint()}")
        return records

    def read(self) -> Sequence[ImageRecord]:
        """All records, unchecked."""
        raise NotImplementedError(f"{type(self).__name__}.read")

    def notes(self) -> list[str]:
        """Notes for the user about files that are left out."""
        return []

    def remedy_of_ids(self) -> str:
        """What the user can do if two images have one id."""
        return "ids must differ"


@dataclass
class PhotoFiles(Dataset):
    """A list of image files.

    Attributes:
        paths: The files, or their addresses.
    """

    paths: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.paths:
            raise SettingsError(
                "nothing to caption: give --image FILE, --images FOLDER or --dataset NAME (see magic caption --help)"
            )

    def read(self) -> list[ImageRecord]:
        paths = list(dict.fromkeys(typed_image(path, "dataset.paths") for path in self.paths))
        for path in paths:
            if not path.name if isinstance(path, StoredImage) else os.path.isdir(path):
                raise SettingsError(f"dataset.paths: {path} is a folder; for all photos in it, type --images {path}")
        suffixes = [Path(path.name).suffix.lower() for path in paths]
        if _PACKED.keys() >= set(suffixes):  # one among others is a failure like any file that is no image
            raise SettingsError(f"dataset.paths: {paths[0]} is not an image; {_for_packed(suffixes[0], str(paths[0]))}")
        counts = Counter(path.name for path in paths)
        return [
            ImageRecord(id=path.name if counts[path.name] == 1 else str(path), path=path, image_name=path.name) for path in paths
        ]

    def hint(self) -> str:
        return "check the paths given with --image"


@dataclass
class PhotoFolder(Dataset):
    """All images below a folder, in the order of their paths.

    Attributes:
        root: The folder, or its address.
    """

    root: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.root:
            raise SettingsError("dataset.root must name a folder of photos (or use --images FOLDER)")

    def read(self) -> list[ImageRecord]:
        found = self._found
        if isinstance(found, RemoteFolder):
            images = found.addresses.items()
            return [ImageRecord(id=name, path=RemoteImage(address), image_name=name) for name, address in images]
        names = [path.relative_to(found.root).as_posix() for path in found.paths]
        return [ImageRecord(id=name, path=path, image_name=name) for name, path in zip(names, found.paths, strict=True)]

    def notes(self) -> list[str]:
        return self._found.notes()

    @cached_property
    def _found(self) -> ImageFolder | RemoteFolder:
        place = self.given("root")
        if is_address(place):
            return find_remote_images(local(place), setting="dataset.root", hint=self.hint())
        root = existing_folder(place, self.hint())
        try:
            return find_images(root)
        except OSError as error:
            raise MagicError(
                f"dataset.root={self.root}: cannot be read ({error.strerror}); mend its permissions, or name another folder"
            ) from error

    def hint(self) -> str:
        root = self.root or ""
        suffix = Path(name_of(root)).suffix.lower()
        is_there = is_address(root) or os.path.isfile(expanded(local(root), "dataset.root"))
        if is_there and suffix in IMAGE_SUFFIXES:
            return f"for one photo, type --image {root}"
        others = self._found.others if "_found" in vars(self) else {}  # known if the folder was looked through
        if packed := _PACKED.keys() & {*others, *([suffix] if is_there else [])}:
            return _for_packed(min(packed), root)
        return f"set dataset.root to a folder with image files ({', '.join(sorted(IMAGE_SUFFIXES))})"


@dataclass
class AnnotatedDataset(Dataset):
    """Images with captions in a JSON file.

    Attributes:
        annotations: The JSON file, or its address.
        root: Folder of the images, or its address.
        split: Only images of this split; null: all.
    """

    annotations: str | None = None
    root: str | None = None
    split: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for setting in ("annotations", "root"):
            self.given(setting)

    def read(self) -> list[ImageRecord]:
        file = self.given("annotations")
        document = read_json(file, setting="dataset.annotations", hint=self.hint())
        root = existing_root(self.given("root"), self.hint(), file=file)
        records = self.parse(document, root)
        splits = sorted({str(record.split) for record in records})
        if self.split is not None:
            chosen = [record for record in records if record.split == self.split]
            if records and not chosen:
                raise SettingsError(f"dataset.split must be one of {', '.join(splits)} or null, got {self.split!r}")
            records = chosen
        return records

    def place(self) -> str:
        """The file, for error messages."""
        return f"dataset.annotations={self.annotations}"

    def parse(self, document: Any, root: ImageRoot) -> list[ImageRecord]:
        """The records of the whole document."""
        raise NotImplementedError(f"{type(self).__name__}.parse")

    def hint(self) -> str:
        return "set dataset.annotations to the JSON file and dataset.root to the folder of its images (formats: docs/formats.md)"


@dataclass
class KarpathyDataset(AnnotatedDataset):
    """COCO or Flickr30k with Karpathy's splits (``dataset_coco.json``, ``dataset_flickr30k.json``)."""

    def parse(self, document: Any, root: ImageRoot) -> list[ImageRecord]:
        images = list(karpathy_images(document, self.place(), needs=("filename",)))
        subfolders = {_subfolder(image) for image in images}
        folders = {name: root.folder(name) for name in subfolders}
        return [
            _record(image, folders[_subfolder(image)], image_id=image.record.get("cocoid"), place=self.place())
            for image in images
        ]

    def hint(self) -> str:
        return (
            "set dataset.annotations to Karpathy's JSON file (from his caption_datasets.zip) and dataset.root to the folder of the "
            "images; scripts/prepare_coco.py downloads both for COCO; scripts/prepare_flickr30k.py reads the photos requested from the authors"
        )


@dataclass
class CocoCaptionsDataset(AnnotatedDataset):
    """A COCO-format captions JSON with a folder of images; images may carry a ``split``."""

    def parse(self, document: Any, root: ImageRoot) -> list[ImageRecord]:
        images = [image for image in coco_images(document, self.place()) if image.record]
        return [_record(image, root, image_id=image.record["id"], place=self.place()) for image in images]


def _record(image: AnnotatedImage, folder: ImageRoot, *, image_id: int | str | None, place: str) -> ImageRecord:
    """The record of an image of a file.

    Raises:
        MagicError: The file does not name the image.
    """
    if image.id is None or not image.file_name:
        which = "an image" if image.id is None else f"image {image.id}"
        raise MagicError(f"{place}: {which} has no file_name; see docs/formats.md for the format")
    return ImageRecord(
        id=image.id,
        path=folder.image(image.file_name),
        image_name=image.file_name,
        split=image.split,
        references=image.captions,
        image_id=image_id,
    )


def _subfolder(image: AnnotatedImage) -> str:
    """The folder of an image in Karpathy's files, below the folder of all images."""
    folder = image.record.get("filepath", "")
    return folder if isinstance(folder, str) else ""


def existing_root(place: str, hint: str, *, file: str) -> ImageRoot:
    """A folder that exists, or an address, which is not asked.

    Args:
        place: As the user types it.
        hint: What to do if it does not exist.
        file: The path or address of the file that names the images.

    Raises:
        MagicError: It does not exist, or nothing here reads addresses of this kind.
    """
    if is_address(place):
        return ImageRoot.typed(place, "dataset.root", file=file)
    return ImageRoot(existing_folder(place, hint), file=file)


def existing_folder(folder: str, hint: str) -> Path:
    """The folder as a path, ``~`` expanded.

    Raises:
        MagicError: It does not exist.
    """
    path = expanded(local(folder), "dataset.root")
    try:
        kind = other_kind(path)
    except PermissionError as error:
        raise MagicError(
            f"dataset.root={folder}: cannot be read ({error.strerror}); mend its permissions, or name another folder"
        ) from error
    except OSError:
        raise MagicError(f"dataset.root={folder}: no such folder (looked at {path.absolute()}); {hint}") from None
    if kind != "folder":
        raise MagicError(f"dataset.root={folder}: is a {kind or 'file'}, not a folder; {hint}")
    return path
