"""The images that an index is built from: folders, lists of files, webdataset shards; in one fixed order.

In memory: about 350 bytes an image file, 200 bytes an image in a shard.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from magic_cli.data.images import IMAGE_SUFFIXES, UnreadableImage
from magic_cli.data.paths import named_paths
from magic_cli.data.text_files import read_text_lines
from magic_cli.errors import MagicError
from magic_cli.image_features.reading import ImageReader, ReadImage

_HINT = "name a folder of images, a list of image files, or webdataset shards (*.tar)"


class BankImage(NamedTuple):
    """One image: a file, or a part of a tar file."""

    id: str
    place: str
    """Path of the file."""
    offset: int | None = None
    """Where its bytes begin in a tar file; None: the file is the image."""
    size: int = 0

    def location(self) -> dict[str, str | int]:
        """What items.jsonl and failures.jsonl say of where it is."""
        part = {} if self.offset is None else {"offset": self.offset, "size": self.size}
        return {"id": self.id, "image": self.place, **part}

    def read_bytes(self) -> bytes:
        """The image file's content.

        Raises:
            UnreadableImage: It cannot be read.
        """
        try:
            with open(self.place, "rb") as stream:
                if self.offset is None:
                    return stream.read()
                stream.seek(self.offset)
                data = stream.read(self.size)
        except OSError as error:
            raise UnreadableImage(f"cannot be read ({error.strerror})") from error
        if len(data) < self.size:
            raise UnreadableImage("the shard is cut off")
        return data


@dataclass(frozen=True)
class BankReader:
    """Reads images of a bank; can be sent to another process.

    Attributes:
        reader: What is done with each.
    """

    reader: ImageReader

    def read(self, image: BankImage) -> ReadImage | UnreadableImage:
        """As ``ImageReader.read``."""
        if image.offset is None:
            return self.reader.read(Path(image.place))
        try:
            return self.reader.read_bytes(image.read_bytes(), Path(image.id).name)
        except UnreadableImage as reason:
            return type(reason)(str(reason))


def list_images(words: Sequence[str], *, limit: int | None) -> tuple[list[BankImage], str]:
    """The images that words of the command line name, in the order of the words and of their names, and a digest.

    The digest changes with every name, size and time of change: so a bank that has changed is noticed without reading it.

    Raises:
        MagicError: A word names nothing, a shard is damaged, two images have one id, or there are none.
    """
    places = [(word, place) for word in words for place in _named(word)]
    images = [image for word, place in places for image in _images_of(word, place, alone=len(places) == 1)][:limit]
    if not images:
        raise MagicError(f"{' '.join(words)}: no images found ({', '.join(sorted(IMAGE_SUFFIXES))}); {_HINT}")
    seen: set[str] = set()
    for image in images:
        if image.id in seen:
            raise MagicError(f"{image.place}: the id {image.id!r} stands for two images; name each once, and build folders of the same name into indexes of their own")
        seen.add(image.id)
    return images, _digest(images)


def _named(word: str) -> list[Path]:
    places = named_paths(word)
    if not places:
        raise MagicError(f"{word}: no such file or folder (looked at {Path(word).expanduser().absolute()}); {_HINT}")
    return places


def _images_of(word: str, place: Path, *, alone: bool) -> Iterator[BankImage]:
    place = place.absolute()
    if place.is_dir():
        prefix = "" if alone else f"{place.name}/"
        for file in sorted(file for file in place.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file()):
            yield BankImage(prefix + file.relative_to(place).as_posix(), str(file))
    elif place.suffix == ".tar":
        yield from _images_of_shard(place)
    elif place.suffix.lower() in IMAGE_SUFFIXES:
        yield BankImage(place.name, str(place))
    elif place.name.endswith((".tar.gz", ".tgz", ".tar.zst", ".tar.xz")):
        raise MagicError(f"{word}: images in a compressed shard cannot be found one by one; unpack it to a plain .tar")
    else:
        for line in read_text_lines(place, setting="files", hint=_HINT):
            yield BankImage(line.strip(), str(place.parent / Path(line.strip()).expanduser()))


def _images_of_shard(shard: Path) -> Iterator[BankImage]:
    """The images of a webdataset shard, in its order; what else a sample holds (captions, metadata) is left out."""
    place, end = str(shard), shard.stat().st_size
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                archive.members = []  # it would remember them all
                if member.isfile() and Path(member.name).suffix.lower() in IMAGE_SUFFIXES:
                    if member.offset_data + member.size > end:
                        raise tarfile.ReadError("it is cut off")
                    yield BankImage(f"{shard.stem}/{member.name.removeprefix('./')}", place, member.offset_data, member.size)
            _check_end(archive)
    except (tarfile.TarError, OSError) as error:
        raise MagicError(f"{shard}: is no whole tar file ({error}); download it again, or leave it out") from error


def _check_end(archive: tarfile.TarFile) -> None:
    """Make sure that the list of members ended where the archive says so: at a header that is cut off or damaged it just stops.

    Raises:
        tarfile.ReadError: It ended elsewhere, so images may be missing.
    """
    archive.fileobj.seek(archive.offset)
    if archive.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError(f"it is cut off or damaged at byte {archive.offset}")


def _digest(images: Sequence[BankImage]) -> str:
    digest, state, last = hashlib.sha256(), "", None
    for image in images:
        if image.offset is None or image.place != last:
            state, last = _state(image.place), image.place
        digest.update(f"{image.id}\0{image.offset}\0{image.size}\0{state}\n".encode(errors="surrogatepass"))
    return digest.hexdigest()


def _state(place: str) -> str:
    try:
        found = Path(place).stat()
    except OSError:
        return "missing"  # recorded among the failures when it is its turn
    return f"{found.st_size} {found.st_mtime_ns}"
