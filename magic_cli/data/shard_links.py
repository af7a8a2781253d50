"""Members of a tar file, and the links between them, followed as a file system would, had the file been unpacked."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import PurePosixPath
from typing import NamedTuple

FILE, FOLDER, HARD_LINK, LINK = "a file", "a folder", "hard link", "link"
_OUTSIDE = "is not in the shard; pack it with tar --dereference --hard-dereference"
_MOST_LINKS = 40  # the longest chain of links, as in Linux


def sample_key(name: str) -> str:
    """The key of a member's sample, as webdataset has it: its path up to the first dot of its name.

    >>> sample_key("./a.b/000123.seg.png")
    'a.b/000123'
    """
    folder, slash, file = name.removeprefix("./").rpartition("/")
    return f"{folder}{slash}{file.partition('.')[0]}"


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

    @property
    def key(self) -> str:
        """What it has in common with the other members of its sample."""
        return sample_key(self.name)


class Member(NamedTuple):
    name: str
    kind: str
    offset: int
    size: int
    target: str
    """The target of a link."""


class _NoTarget(Exception):
    """A link leads nowhere; the message continues "a link to x, which "."""


class Links:
    """Follows links from member to member, as a file system would after unpacking the shard."""

    def __init__(self, members: Sequence[Member]) -> None:
        self._members = members

    @cached_property
    def _by_path(self) -> Mapping[str, Member]:
        """Members by path. A link to itself, which tar writes for a file that it was given twice, is left out."""
        return {member_path(member.name): member for member in self._members if not _leads_to_itself(member)}

    @cached_property
    def _folders(self) -> set[str]:
        """The folders that a shard's members lie in; the shard need not list them."""
        return {str(folder) for path in self._by_path for folder in PurePosixPath(path).parents}

    def is_known(self, member: Member) -> bool:
        """Whether a link only repeats a file under the same name."""
        return _leads_to_itself(member) and member_path(member.name) in self._by_path

    def is_last(self, member: Member) -> bool:
        """Whether no later member has the same path (as ``tar -r`` may add): unpacking keeps the last one."""
        return self._by_path.get(member_path(member.name), member) is member

    def image(self, member: Member) -> ShardImage:
        """Where the bytes of a member are, or why it has none."""
        fault, found = "", member
        if member.kind in (LINK, HARD_LINK):
            fault = f"a {member.kind} to {member.target}, which "
            try:
                found = self._follow(member)
            except _NoTarget as reason:
                return ShardImage(member.name, fault=f"{fault}{reason}")
            fault += "is "
        if found.kind == FILE:
            return ShardImage(member.name, found.offset, found.size)
        return ShardImage(member.name, fault=fault + found.kind)

    def leads_to_folder(self, member: Member) -> bool:
        """Whether a link leads to a folder of the shard; its images are found without the link."""
        try:
            return self._follow(member).kind == FOLDER
        except _NoTarget:
            return False

    def _follow(self, link: Member) -> Member:
        """The member that a chain of links ends at.

        Raises:
            _NoTarget: The chain leaves the shard, ends at a missing member, or returns to itself.
        """
        done, found = member_path(link.name).split("/"), link
        left: list[str] = []
        for _ in range(_MOST_LINKS):
            if found.kind == HARD_LINK:  # another name of what is there
                found = self._at(member_path(found.target))
            elif found.kind == LINK:
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
                if (found := self._by_path.get("/".join(done))) is not None and found.kind == LINK:
                    return done, left[number:]
        return done, []

    def _at(self, path: str) -> Member:
        found = self._by_path.get(path)
        if found is None and path not in self._folders and path:
            raise _NoTarget(_OUTSIDE)
        return found or Member(path, FOLDER, 0, 0, "")


def member_path(name: str) -> str:
    """A member's path below the folder into which the shard would be unpacked."""
    return posixpath.normpath(name).lstrip("/")


def _leads_to_itself(member: Member) -> bool:
    return member.kind == HARD_LINK and member_path(member.target) == member_path(member.name)
