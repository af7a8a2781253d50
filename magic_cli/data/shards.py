"""The images of a webdataset shard, or of any plain tar file: where their bytes are, links followed; and their captions.

A link leads to another member of the same file; nothing outside is ever read. A member that cannot be read is named with the
reason.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Mapping, Sequence
from io import BufferedIOBase
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from magic_cli.data.addresses import open_place, reason, size_of
from magic_cli.data.image_folders import is_hidden, is_of_macos
from magic_cli.data.images import IMAGE_SUFFIXES
from magic_cli.data.json_text import JSONFault, parse_json
from magic_cli.data.paths import other_kind
from magic_cli.data.place_names import is_address
from magic_cli.data.record_fields import several_texts
from magic_cli.data.shard_links import FILE, FOLDER, HARD_LINK, LINK, Links, Member, ShardImage, member_path, sample_key
from magic_cli.data.text_files import decoded
from magic_cli.data.unread_captions import UnreadCaptions
from magic_cli.errors import MagicError

_KINDS = {tarfile.DIRTYPE: FOLDER, tarfile.LNKTYPE: HARD_LINK, tarfile.SYMTYPE: LINK} | dict.fromkeys(tarfile.REGULAR_TYPES, FILE)
_ODD = {
    tarfile.FIFOTYPE: "a named pipe",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
}  # other kinds of members, as reasons name them
_TEXTS = (".txt", ".json")
"""Suffixes of members that may hold captions; the first that a sample has counts."""
_LONGEST_TEXT = 1 << 20
"""Most bytes of a member that holds captions."""
_Texts = dict[str, dict[str, bytes | None]]
"""What members hold that may be captions, by key and suffix; None: more than captions have."""
_PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"\x04\x22\x4d\x18": "lz4"}


class Contents(NamedTuple):
    """What is known of a shard.

    Attributes:
        images: In the shard's order.
        hidden: Names of hidden images, which are left out.
        captions: Of the samples that have some, by their key.
        unread: Captions that are no text; their samples have none.
    """

    images: list[ShardImage]
    hidden: list[str]
    captions: dict[str, tuple[str, ...]]
    unread: UnreadCaptions


def read_shard(shard: str, *, caption_key: str | None = None) -> Contents:
    """Look through a shard once, from its begin to its end; of the images only the places are read.

    Args:
        shard: Its place.
        caption_key: Captions are read, too: of a sample's ``.txt``, or else of its ``.json`` what stands under this key; None: none are.

    Raises:
        MagicError: It is no plain tar file, cut off or damaged, or cannot be read.
    """
    texts: _Texts = {}
    try:
        if not is_address(shard) and (kind := other_kind(Path(shard))) is not None:
            raise MagicError(f"{shard}: is a {kind}, not a tar file; name the file")
        members = list(_members(shard, texts if caption_key is not None else None))
    except tarfile.TarError as error:
        if packed := _packed_with(shard):
            raise MagicError(
                f"{shard}: is packed with {packed}, and images in it cannot be found one by one; unpack it to a plain .tar"
            ) from error
        raise MagicError(f"{shard}: is not a complete tar file ({error}); download it again, or leave it out") from error
    except OSError as error:
        raise MagicError(f"{shard}: cannot be read ({reason(error)}); mend its permissions, or leave it out") from error
    images, hidden = _images(members)
    captions: dict[str, tuple[str, ...]] = {}
    unread = UnreadCaptions()
    if caption_key is None:
        return Contents(images, hidden, captions, unread)
    keys = {image.key for image in images} if texts else set()
    for key, found in texts.items():
        if key not in keys:
            continue
        try:
            captions[key] = _captions(found, key, caption_key)
        except MagicError as error:
            unread.add(error)
    return Contents(images, hidden, captions, unread)


def _captions(found: Mapping[str, bytes | None], place: str, key: str) -> tuple[str, ...]:
    """The captions of a sample: its text, or what its JSON holds under a key; empty: it holds nothing there.

    Raises:
        MagicError: It is no text, or longer than captions are.
    """
    suffix = next(suffix for suffix in _TEXTS if suffix in found)
    data = found[suffix]
    if data is None:
        raise MagicError(f"{place}{suffix}: has more than {_LONGEST_TEXT >> 20} MiB")
    if suffix == ".txt":
        text = " ".join(decoded(data, f"{place}.txt").split())
        return (text,) if text else ()
    try:
        record = parse_json(data)
    except JSONFault as fault:
        raise MagicError(f"{place}.json: {fault.problem}") from None
    value = record.get(key) if isinstance(record, dict) else None
    return () if value is None else several_texts(value, f"{place}.json, {key}")


def _images(members: Sequence[Member]) -> tuple[list[ShardImage], list[str]]:
    links, images, hidden = Links(members), [], []
    for member in members:
        path = PurePosixPath(member.name)
        suffix = path.suffix.lower()
        if suffix in IMAGE_SUFFIXES and member.kind != FOLDER:
            if any(map(is_hidden, path.parts)):
                hidden += [] if is_of_macos(path.name) else [member.name]
            elif not links.is_known(member) and links.is_last(member):
                images.append(links.image(member))
        elif not suffix and member.kind == LINK and not is_hidden(path.name) and not links.leads_to_folder(member):
            image = links.image(member)
            images += [image] if image.fault else []  # the target may be a folder of images
    return images, hidden


def _members(shard: str, texts: _Texts | None) -> Iterator[Member]:
    """The members of a tar file, and of those that ``cat`` has put behind it; of one that ``tar -r`` has added anew, all of them.

    Args:
        shard: Its place.
        texts: Gets what members hold that may be captions; None: it is not read.
    """
    end = size_of(shard)
    start: int | None = 0
    earlier: set[str] = set()
    with open_place(shard) as stream:
        while start is not None:
            stream.seek(start)
            found: set[str] = set()
            with tarfile.open(fileobj=stream, mode="r:") as archive:
                for member in archive:
                    archive.members = []  # type: ignore[attr-defined]  # typeshed lacks it; it would keep them all in memory
                    one = _member(member, end)
                    if one.kind != FOLDER:
                        found.add(member_path(one.name))
                        if member_path(one.name) in earlier:
                            raise tarfile.ReadError(f"two of the archives in it hold {one.name}; unpack each archive by itself")
                    if texts is not None and one.kind == FILE:
                        _note_text(one, stream, texts)
                    yield one
                start = _next_archive(archive, stream)
            earlier |= found


def _note_text(member: Member, stream: BufferedIOBase, texts: _Texts) -> None:
    """Read a member that may hold captions: the only dot of its name stands before its suffix."""
    key = sample_key(member.name)
    suffix = member.name.removeprefix("./").removeprefix(key).lower()
    if suffix in _TEXTS:
        stream.seek(member.offset)
        texts.setdefault(key, {})[suffix] = stream.read(member.size) if member.size <= _LONGEST_TEXT else None


def _member(member: tarfile.TarInfo, end: int) -> Member:
    kind = _KINDS.get(member.type) or _ODD.get(member.type, f"of a type that is not known ({member.type!r})")
    if member.issparse():
        kind = "stored with holes; pack the shard without --sparse"
    elif kind == FILE and member.offset_data + member.size > end:
        raise tarfile.ReadError("it is cut off")
    return Member(member.name, kind, member.offset_data, member.size, member.linkname)


def _next_archive(archive: tarfile.TarFile, stream: BufferedIOBase) -> int | None:
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


def _packed_with(shard: str) -> str | None:
    """What a file that is no tar file is packed with, as far as can be told; None: nothing that is known."""
    try:
        with open_place(shard) as stream:
            start = stream.read(max(map(len, _PACKED)))
    except OSError:  # the error that led here is told instead
        return None
    return next((name for magic, name in _PACKED.items() if start.startswith(magic)), None)
