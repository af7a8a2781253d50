"""The images of a webdataset shard, or of any plain tar file: where their bytes are, links followed; and their captions.

A link leads to another member of the same file; nothing outside it is ever read. What cannot be read is named with the reason.
"""

from __future__ import annotations

import posixpath
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

from magic_cli.data.addresses import is_address, open_place, reason, size_of
from magic_cli.data.image_folders import is_hidden, is_of_macos
from magic_cli.data.images import IMAGE_SUFFIXES
from magic_cli.data.json_text import JSONFault, parse_json
from magic_cli.data.paths import other_kind
from magic_cli.data.record_fields import several_texts
from magic_cli.data.text_files import decoded
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
_TEXTS = (".txt", ".json")
_LONGEST_TEXT = 1 << 20
"""Most bytes of a member that holds captions."""
_MOST_LINKS = 40  # that lead from one to the next, as in Linux
_PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"\x04\x22\x4d\x18": "lz4"}


class ShardImage(NamedTuple):
    """An image of a shard.

    Attributes:
        name: As the shard gives it.
        offset, size: Where its bytes are; 0 and 0 if it has none.
        fault: Why it cannot be read; None if it can.
    """

    name: str
    offset: int = 0
    size: int = 0
    fault: str | None = None

    @property
    def key(self) -> str:
        """What it has in common with the other members of its sample."""
        return sample_key(self.name)


class _Member(NamedTuple):
    name: str
    kind: str
    offset: int
    size: int
    target: str
    """Of a link."""


class Contents(NamedTuple):
    """What is known of a shard.

    Attributes:
        images: In the shard's order.
        hidden: Names of hidden images, which are left out.
        captions: Of the samples that have some, by their key.
    """

    images: list[ShardImage]
    hidden: list[str]
    captions: dict[str, tuple[str, ...]]


def sample_key(name: str) -> str:
    """The key of a member's sample, as webdataset has it: its path up to the first dot of its name.

    >>> sample_key("./a.b/000123.seg.png")
    'a.b/000123'
    """
    folder, slash, file = name.removeprefix("./").rpartition("/")
    return f"{folder}{slash}{file.partition('.')[0]}"


def read_shard(shard: str, *, caption_key: str | None = None) -> Contents:
    """Look through a shard once, from its begin to its end; of the images only the places are read.

    Args:
        shard: Its place.
        caption_key: Captions are read, too: of a sample's ``.txt``, or else of its ``.json`` what stands under this key; None: none are.

    Raises:
        MagicError: It is no plain tar file, cut off or damaged, or cannot be read; or a caption is no text.
    """
    texts: dict[str, dict[str, bytes]] = {}
    try:
        if not is_address(shard) and (kind := other_kind(Path(shard))) is not None:
            raise MagicError(f"{shard}: is a {kind}, not a tar file; name the file")
        members = list(_members(shard, texts if caption_key is not None else None))
    except tarfile.TarError as error:
        if packed := _packed_with(shard):
            raise MagicError(
                f"{shard}: is packed with {packed}, and images in it cannot be found one by one; unpack it to a plain .tar"
            ) from error
        raise MagicError(f"{shard}: is no whole tar file ({error}); download it again, or leave it out") from error
    except OSError as error:
        raise MagicError(f"{shard}: cannot be read ({reason(error)}); mend its permissions, or leave it out") from error
    images, hidden = _images(members)
    return Contents(images, hidden, {key: _captions(found, f"{shard}: {key}", caption_key) for key, found in texts.items()})


def _captions(found: dict[str, bytes], place: str, key: str) -> tuple[str, ...]:
    """The captions of a sample: its text, or what its JSON holds under a key; empty: it holds nothing there."""
    if (text := found.get(".txt")) is not None:
        text = " ".join(decoded(text, f"{place}.txt").split())
        return (text,) if text else ()
    try:
        record = parse_json(found[".json"])
    except JSONFault as fault:
        raise MagicError(f"{place}.json: {fault.problem}; mend it, or leave captions out with dataset.caption_key=null") from None
    value = record.get(key) if isinstance(record, dict) else None
    return () if value is None else several_texts(value, f"{place}.json, {key}")


def _images(members: Sequence[_Member]) -> tuple[list[ShardImage], list[str]]:
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
            images += [image] if image.fault else []  # perhaps once to a folder of images
    return images, hidden


def _members(shard: str, texts: dict[str, dict[str, bytes]] | None) -> Iterator[_Member]:
    """The members of a tar file, and of those that ``cat`` has put behind it; of one that ``tar -r`` has added anew, all of them.

    Args:
        shard: Its place.
        texts: Gets what members hold that may be captions, by key and suffix; None: it is not read.
    """
    end, start = size_of(shard), 0
    earlier: set[str] = set()
    with open_place(shard) as stream:
        while start is not None:
            stream.seek(start)
            found: set[str] = set()
            with tarfile.open(fileobj=stream, mode="r:") as archive:
                for member in archive:
                    archive.members = []  # it would remember them all
                    one = _member(member, end)
                    if one.kind != _FOLDER:
                        found.add(_path(one.name))
                        if _path(one.name) in earlier:
                            raise tarfile.ReadError(
                                f"of several archives one behind the other, two hold {one.name}, so unpack each by itself"
                            )
                    if texts is not None and one.kind == _FILE and one.size <= _LONGEST_TEXT:
                        _note_text(one, stream, texts)
                    yield one
                start = _next_archive(archive, stream)
            earlier |= found


def _note_text(member: _Member, stream: BinaryIO, texts: dict[str, dict[str, bytes]]) -> None:
    """Read a member that may hold captions: the only dot of its name stands before its suffix."""
    key = sample_key(member.name)
    suffix = member.name.removeprefix("./").removeprefix(key).lower()
    if suffix in _TEXTS:
        stream.seek(member.offset)
        texts.setdefault(key, {})[suffix] = stream.read(member.size)


def _member(member: tarfile.TarInfo, end: int) -> _Member:
    kind = _KINDS.get(member.type) or _ODD.get(member.type, f"of a type that is not known ({member.type!r})")
    if member.issparse():
        kind = "stored with holes; pack the shard without --sparse"
    elif kind == _FILE and member.offset_data + member.size > end:
        raise tarfile.ReadError("it is cut off")
    return _Member(member.name, kind, member.offset_data, member.size, member.linkname)


def _next_archive(archive: tarfile.TarFile, stream: BinaryIO) -> int | None:
    """Where another archive begins behind the end of this one; None: there is none.

    The list of members must have ended where the archive says so: at a header that is cut off or damaged it just stops.

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


def _packed_with(shard: str) -> str | None:
    with open_place(shard) as stream:
        start = stream.read(max(map(len, _PACKED)))
    return next((name for magic, name in _PACKED.items() if start.startswith(magic)), None)


class _NoTarget(Exception):
    """A link leads nowhere; the message goes on after "a link to x, which "."""


class _Links:
    """Follows links from member to member as a file system would, had the shard been unpacked."""

    def __init__(self, members: Sequence[_Member]) -> None:
        self._members = members

    @cached_property
    def _by_path(self) -> Mapping[str, _Member]:
        """Members by path; a link to itself, as tar writes of a file that it was given twice, stands for nothing."""
        return {_path(member.name): member for member in self._members if not _leads_to_itself(member)}

    @cached_property
    def _folders(self) -> set[str]:
        """Of what a shard holds; it need not name them itself."""
        return {str(folder) for path in self._by_path for folder in PurePosixPath(path).parents}

    def is_known(self, member: _Member) -> bool:
        """Whether a link is nothing but a file of the same name once more."""
        return _leads_to_itself(member) and _path(member.name) in self._by_path

    def is_last(self, member: _Member) -> bool:
        """Whether no later member has the same path, as after ``tar -r``: unpacking keeps the last one."""
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
        """Whether a link leads to a folder of the shard, whose images are there without it."""
        try:
            return self._follow(member).kind == _FOLDER
        except _NoTarget:
            return False

    def _follow(self, link: _Member) -> _Member:
        """What a link leads to at last.

        Raises:
            _NoTarget: It leads out of the shard, to what is not there, or back to itself.
        """
        done, left, found = _path(link.name).split("/"), [], link
        for _ in range(_MOST_LINKS):
            if found.kind == _HARD_LINK:  # another name of what is there
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
        """Go on up to the next link: the way so far, and what is left of it."""
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
    """A member's path below the folder that the shard is unpacked into."""
    return posixpath.normpath(name).lstrip("/")


def _leads_to_itself(member: _Member) -> bool:
    return member.kind == _HARD_LINK and _path(member.target) == _path(member.name)
