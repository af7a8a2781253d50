"""The images that an index is built from: folders, lists of files, webdataset shards, here or behind addresses; in a fixed order.

Memory: about 350 bytes per image file, 200 bytes per image in a shard, and 300 bytes per member of the shard that is being read.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from magic_cli.data.addresses import state_of
from magic_cli.data.image_folders import find_images, named
from magic_cli.data.images import IMAGE_SUFFIXES, RefusedImage, StoredImage, UnreadableImage
from magic_cli.data.listing import matches
from magic_cli.data.named_images import ImageRoot, typed_image
from magic_cli.data.paths import ending, expanded, named_paths
from magic_cli.data.place_names import folder_of, is_address, local, name_of, path_of
from magic_cli.data.remote_folders import find_remote_images
from magic_cli.data.shard_index import open_shard
from magic_cli.data.stored_images import RemoteImage, ShardMember
from magic_cli.data.text_files import read_text, text_lines
from magic_cli.errors import MagicError
from magic_cli.image_features.reading import ImageReader, ReadImage

_ARCHIVES = re.compile(r"\.(tar\.\w+|tgz|tbz2?|txz|tzst|zip|7z|rar)$", re.IGNORECASE)
_LISTS = (".txt", ".lst", ".list")
"""Suffixes of lists behind addresses, where nothing else tells them from folders; ``.gz`` may follow."""
_HINT = "name a folder of images, a list of image files, or webdataset shards (*.tar)"


class BankImage(NamedTuple):
    """One image: a file, or a part of a tar file."""

    id: str
    place: str
    """Path or address of the file."""
    offset: int | None = None
    """Where its bytes begin in a tar file; None: the image is a file of its own."""
    size: int = 0
    fault: str | None = None
    """Why it cannot be read, if that is known when the images are listed."""

    def location(self) -> dict[str, str | int]:
        """The keys of items.jsonl and failures.jsonl that say where it is."""
        part = {} if self.offset is None else {"offset": self.offset, "size": self.size}
        return {"id": self.id, "image": self.place, **part}

    @property
    def file(self) -> Path | StoredImage:
        """The image, for ``ImageReader.read``."""
        if self.offset is None and self.fault is None:
            return RemoteImage(self.place) if is_address(self.place) else Path(self.place)
        return ShardMember(self.place, self.id, self.offset or 0, self.size, self.fault)


@dataclass(frozen=True)
class BankReader:
    """Reads images of a bank; can be sent to another process.

    Attributes:
        reader: Reads each image.
    """

    reader: ImageReader

    def read(self, image: BankImage) -> ReadImage | UnreadableImage:
        """As ``ImageReader.read``."""
        return self.reader.read(image.file)


@dataclass
class Bank:
    """The images that the user named.

    Attributes:
        images: In the order of the words of the command line, and of their names within each.
        digest: Changes with every name, and with size and modification time of the files, so that a changed bank is noticed without
            reading it. Single images behind addresses are not asked for theirs.
        notes: Notes for the user about files that are left out.
    """

    images: list[BankImage] = field(default_factory=list)
    digest: str = ""
    notes: list[str] = field(default_factory=list)


def list_images(words: Sequence[str], *, limit: int | None) -> Bank:
    """Find the images; only the first ``limit``, unless it is None.

    Raises:
        MagicError: A word names nothing, a shard is damaged, two images have the same id, or there are no images.
    """
    bank = Bank()
    places = [(word, place) for word in words for place in _named(local(word))]
    for word, place in places:
        bank.images += _images_of(word, place, bank.notes, alone=len(places) == 1)
    bank.images = bank.images[:limit]
    if not bank.images:
        told = "; ".join([f"no images found ({', '.join(sorted(IMAGE_SUFFIXES))})", *bank.notes, _HINT])
        raise MagicError(f"{' '.join(words)}: {told}")
    seen: set[str] = set()
    for image in bank.images:
        if image.id in seen:
            raise MagicError(
                f"{image.place}: the id {image.id!r} belongs to two images; name each image once, and build separate indexes for folders of the same name"
            )
        seen.add(image.id)
    bank.digest = _digest(bank.images)
    return bank


def _named(word: str) -> list[str]:
    """The places that a word names: one, or those that fit a pattern."""
    if is_address(word):
        return matches(word, hint=_HINT)
    places = named_paths(word)
    if not places:
        raise MagicError(f"{word}: no such file or folder (looked at {expanded(word).absolute()}); {_HINT}")
    return [str(place.absolute()) for place in places]


def _images_of(word: str, place: str, notes: list[str], *, alone: bool) -> Iterator[BankImage]:
    name = PurePosixPath(name_of(place))
    if os.path.isdir(place):
        yield from _of_folder(word, Path(place), notes, prefix="" if alone else f"{name}/")
    elif name.suffix.lower() in IMAGE_SUFFIXES:
        yield BankImage(RemoteImage(place).name if is_address(place) else name.name, place)
    elif name.suffix.lower() == ".tar":
        yield from _of_shard(place, name.stem, notes)
    elif _ARCHIVES.search(name.name):
        raise MagicError(
            f"{word}: images in a packed archive cannot be found one by one; unpack it to a folder, or to a plain .tar"
        )
    elif is_address(place) and ending(name) not in _LISTS:
        away = find_remote_images(place, setting="", hint=_HINT)
        prefix = "" if alone else f"{PurePosixPath(path_of(place)).name}/"
        yield from (BankImage(prefix + inner, address) for inner, address in away.addresses.items())
        notes += away.notes()
    else:
        yield from _of_list(place)


def _of_list(place: str) -> Iterator[BankImage]:
    root = ImageRoot(folder_of(place), file=place, follows=True)
    for number, line in text_lines(read_text(place, setting="files", hint=_HINT)):
        name = line.strip()
        try:
            image = root.image(str(typed_image(name, "")))
        except MagicError as error:
            raise MagicError(f"{place} line {number}: {error}") from error
        yield BankImage(name, str(image), fault=image.why if isinstance(image, RefusedImage) else None)


def _of_shard(place: str, stem: str, notes: list[str]) -> Iterator[BankImage]:
    shard = open_shard(place)
    for row, name in enumerate(shard.names):
        fault = shard.faults.get(row)
        where: tuple[int | None, int] = (None, 0) if fault else (shard.offsets[row], shard.sizes[row])
        yield BankImage(f"{stem}/{name}", place, *where, fault)
    if shard.hidden:
        notes.append(f"{place}: hidden images are left out: {named(shard.hidden)}")


def _of_folder(word: str, place: Path, notes: list[str], *, prefix: str) -> Iterator[BankImage]:
    try:
        found = find_images(place)
    except OSError as error:
        raise MagicError(f"{word}: cannot be read ({error.strerror}); mend its permissions, or name another folder") from error
    yield from (BankImage(prefix + file.relative_to(place).as_posix(), str(file)) for file in found.paths)
    notes += found.notes()


def _digest(images: Sequence[BankImage]) -> str:
    digest, state, last = hashlib.sha256(), "", None
    for image in images:
        if image.place != last:
            state, last = _state(image), image.place
        digest.update(f"{image.id}\0{image.offset}\0{image.size}\0{state}\n".encode(errors="surrogatepass"))
    return digest.hexdigest()


def _state(image: BankImage) -> str:
    if isinstance(image.file, RemoteImage):
        return "not asked"  # a request for each of them would take as long as to read them
    try:
        return state_of(image.place) or "not known"
    except OSError:
        return "missing"  # becomes a failure when it is read
