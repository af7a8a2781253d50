"""The images of a webdataset shard, or of any plain tar file: where their bytes are, with links followed.

A link leads to another member of the same file; nothing outside is ever read. A member that cannot be read is named with the
reason.
"""

from __future__ import annotations

import posixpath
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

from magic_cli.data.image_folders import is_hidden, is_of_macos
from magic_cli.data.images import IMAGE_SUFFIXES
from magic_cli.data.paths import other_kind
from magic_cli.errors import MagicError

_FILE, _FOLDER, _HARD_LINK, _LINK = "a file", "a folder", "hard link", "link"
_OUTSIDE = "is not in the shard; pack it with tar --dereference --hard-dereference"
_KINDS = {tarfile.DIRTYPE: _FOLDER, tarfile.LNKTYPE: _HARD_LINK, tarfile.SYMTYPE: _LINK} | dict.fromkeys(
    tarfile.REGULAR_TYPES, _FILE
)
_ODD = {
    tarfile.FIFOTYPE: "a named pipe",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
}  # other kinds of members, as reasons name them
_MOST_LINKS = 40  # the longest chain of links, as in Linux
_PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"\x04\x22\x4d\x18": "lz4"}


class ShardImage(NamedTuple):
    """An image of a shard.

    Attributes:
        name: The name in the shard.
        offset, size: Position and length of its bytes; 0 and 0 if it has none.
        fault: Why it cannot be read; None if it can.
    """

    name: str
    offset: int = 0
    size: int = 0
    fault: str | None = None


class _Member(NamedTuple):
    name: str
    kind: str
    offset: int
    size: int
    target: str
    """The target of a link."""


def shard_images(shard: Path) -> tuple[list[ShardImage], list[str]]:
    """The images of a shard, in order. Other parts of a sample (captions, metadata) are left out.

    Returns:
        The images, and the names of hidden images, which are left out.

    Raises:
        MagicError: It is not a plain tar file, is cut off or damaged, or cannot be read.
    """
    try:
        if (kind := other_kind(shard)) is not None:
            raise MagicError(f"{shard}: is a {kind}, not a tar file; name the file")
        members = list(_members(shard))
    except tarfile.TarError as error:
        if packed := _packed_with(shard):
            raise MagicError(
                f"{shard}: is packed with {packed}, and images in it cannot be found one by one; unpack it to a plain .tar"
            ) from error
        raise MagicError(f"{shard}: is not a complete tar file ({error}); download it again, or leave it out") from error
    except OSError as error:
        raise MagicError(f"{shard}: cannot be read ({error.strerror}); mend its permissions, or leave it out") from error
    links, images, hidden = _Links(members), [], []
    for member in members:
        path = PurePosixPath(member.name)
        suffix = path.suffix.lower()
        if suffix in IMAGE_SUFFIXES and member.kind != _FOLDER:
            if any(map(is_hidden, path.parts)):
                hidden += [] if is_of_macos(path.name) else [member.name]
            elif not links.is_known(member) and links.is_last(member):
                images.append(links.image(member))
        elif not suffix and member.kind == _LINK and not is_hidden(path.name) and not links.leads_to_folder(member):
            image = links.image(member)
            images += [image] if image.fault else []  # the target may be a folder of images
    return images, hidden


def _members(shard: Path) -> Iterator[_Member]:
    """The members of a tar file, and of archives that ``cat`` appended. A member that ``tar -r`` added anew appears each time."""
    end, start = shard.stat().st_size, 0
    earlier: set[str] = set()
    with shard.open("rb") as stream:
        while start is not None:
            stream.seek(start)
            found: set[str] = set()
            with tarfile.open(fileobj=stream, mode="r:") as archive:
                for member in archive:
                    archive.members = []  # else it would keep them all in memory
                    one = _member(member, end)
                    if one.kind != _FOLDER:
                        found.add(_path(one.name))
                        if _path(one.name) in earlier:
                            raise tarfile.ReadError(f"two of the archives in it hold {one.name}; unpack each archive by itself")
                    yield one
                start = _next_archive(archive, stream)
            earlier |= found


def _member(member: tarfile.TarInfo, end: int) -> _Member:
    kind = _KINDS.get(member.type) or _ODD.get(member.type, f"of a type that is not known ({member.type!r})")
    if member.issparse():
        kind = "stored with holes; pack the shard without --sparse"
    elif kind == _FILE and member.offset_data + member.size > end:
        raise tarfile.ReadError("it is cut off")
    return _Member(member.name, kind, member.offset_data, member.size, member.linkname)


def _next_archive(archive: tarfile.TarFile, stream: BinaryIO) -> int | None:
    """Where another archive begins after the end of this one; None: there is none.

    tarfile stops without an error at a header that is cut off or damaged. So check that the list of members ended at a real end.

    Raises:
        tarfile.ReadError: It ended elsewhere, so images may be missing.
    """
    place = archive.offset
    stream.seek(place)
    if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError(f"it is cut off or damaged at byte {place}")
    while block := stream.read(tarfile.BLOCKSIZE):
        place += tarfile.BLOCKSIZE
        if block.strip(b"\0"):
            return place
    return None


def _packed_with(shard: Path) -> str | None:
    with shard.open("rb") as stream:
        start = stream.read(max(map(len, _PACKED)))
    return next((name for magic, name in _PACKED.items() if start.startswith(magic)), None)


class _NoTarget(Exception):
    """A link leads nowhere; the message continues "a link to x, which "."""


class _Links:
    """Follows links from member to member, as a file system would after unpacking the shard."""

    def __init__(self, members: Sequence[_Member]) -> None:
        self._members = members

    @cached_property
    def _by_path(self) -> Mapping[str, _Member]:
        """Members by path. A link to itself, which tar writes for a file that it was given twice, is left out."""
        return {_path(member.name): member for member in self._members if not _leads_to_itself(member)}

    @cached_property
    def _folders(self) -> set[str]:
        """The folders that a shard's members lie in; the shard need not list them."""
        return {str(folder) for path in self._by_path for folder in PurePosixPath(path).parents}

    def is_known(self, member: _Member) -> bool:
        """Whether a link only repeats a file under the same name."""
        return _leads_to_itself(member) and _path(member.name) in self._by_path

    def is_last(self, member: _Member) -> bool:
        """Whether no later member has the same path (as ``tar -r`` may add): unpacking keeps the last one."""
        return self._by_path.get(_path(member.name), member) is member

    def image(self, member: _Member) -> ShardImage:
        """Where the bytes of a member are, or why it has none."""
        fault, found = "", member
        if member.kind in (_LINK, _HARD_LINK):
            fault = f"a {member.kind} to {member.target}, which "
            try:
                found = self._follow(member)
            except _NoTarget as reason:
                return ShardImage(member.name, fault=f"{fault}{reason}")
            fault += "is "
        if found.kind == _FILE:
            return ShardImage(member.name, found.offset, found.size)
        return ShardImage(member.name, fault=fault + found.kind)

    def leads_to_folder(self, member: _Member) -> bool:
        """Whether a link leads to a folder of the shard; its images are found without the link."""
        try:
            return self._follow(member).kind == _FOLDER
        except _NoTarget:
            return False

    def _follow(self, link: _Member) -> _Member:
        """The member that a chain of links ends at.

        Raises:
            _NoTarget: The chain leaves the shard, ends at a missing member, or returns to itself.
        """
        done, left, found = _path(link.name).split("/"), [], link
        for _ in range(_MOST_LINKS):
            if found.kind == _HARD_LINK:  # a second name for the same data
                found = self._at(_path(found.target))
            elif found.kind == _LINK:
                done = [] if found.target.startswith("/") else done[:-1]
                done, left = self._walk(done, [*found.target.split("/"), *left])
                found = self._at("/".join(done))
            elif left:
                done, left = self._walk(done, left)
                found = self._at("/".join(done))
            else:
                return found
        raise _NoTarget("leads back to itself")

    def _walk(self, done: list[str], left: list[str]) -> tuple[list[str], list[str]]:
        """Walk the path up to the next link; returns the path walked and the rest."""
        done = list(done)
        for number, part in enumerate(left, start=1):
            if part == "..":
                if not done:
                    raise _NoTarget(_OUTSIDE)
                done.pop()
            elif part not in ("", "."):
                done.append(part)
                if (found := self._by_path.get("/".join(done))) is not None and found.kind == _LINK:
                    return done, left[number:]
        return done, []

    def _at(self, path: str) -> _Member:
        found = self._by_path.get(path)
        if found is None and path not in self._folders and path:
            raise _NoTarget(_OUTSIDE)
        return found or _Member(path, _FOLDER, 0, 0, "")


def _path(name: str) -> str:
    """A member's path below the folder into which the shard would be unpacked."""
    return posixpath.normpath(name).lstrip("/")


def _leads_to_itself(member: _Member) -> bool:
    return member.kind == _HARD_LINK and _path(member.target) == _path(member.name)
