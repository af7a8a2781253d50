"""Webdataset shards of images with captions, written so that no crash loses or repeats a download.

00012.tar               for each image <row>.jpg, <row>.txt (caption) and <row>.json (facts), in the order of rows
00012.failures.jsonl    rows without an image, with the reason
00012.json              written last: which rows the shard covers
.unfinished/00012/      one file a row until then
"""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from magic_cli.data.json_files import read_json_lines, read_json_object
from magic_cli.data.json_text import JSONFault, parse_object
from magic_cli.errors import MagicError
from magic_cli.files import Busy, hold

_UNFINISHED, _FACTS = ".unfinished", "source.json"
_REMEDY = "delete this folder and start again, or name another"


class ImageShards:
    """A folder of shards; row ``r`` belongs to shard ``r // rows_per_shard``.

    A shard's bytes depend on nothing but what came for its rows.
    """

    def __init__(self, folder: Path, *, rows_per_shard: int) -> None:
        self.folder, self.rows_per_shard = folder, rows_per_shard

    @contextmanager
    def locked(self, source: dict[str, Any]) -> Iterator[None]:
        """This process alone works in the folder.

        Args:
            source: What the shards are made of; a folder is only ever continued with the same.

        Raises:
            MagicError: Another process works in it, or it is made of something else.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            try:
                stack.enter_context(hold(self.folder / ".lock"))
            except Busy:
                raise MagicError(
                    f"{self.folder}: another process is working in this folder; wait for it, or name another folder"
                ) from None
            file = self.folder / _FACTS
            if file.exists() and (before := read_json_object(file, remedy=_REMEDY)) != source:
                changed = ", ".join(
                    f"{key} {before.get(key)} -> {source.get(key)}"
                    for key in sorted({*before, *source})
                    if before.get(key) != source.get(key)
                )
                raise MagicError(
                    f"{self.folder}: holds shards made otherwise ({changed}); name another folder, or delete this one"
                )
            _replace(file, _json(source))
            yield

    def open_shard(self, shard: int, stop: int, *, again: bool) -> set[int] | None:
        """The rows that a shard still lacks. A finished one that covers more rows stays as it is: packed anew, it would lose them.

        Args:
            shard: Its number.
            stop: The row after its last one.
            again: Try rows again whose failure was temporary.

        Returns:
            Row numbers; None if the shard is complete.
        """
        facts = self._facts(shard)
        rows = range(shard * self.rows_per_shard, stop)
        if facts is not None and (facts["stop"] > stop or facts["stop"] == stop and not (again and facts["temporary"])):
            self._discard(shard)  # a crash may have come before it was removed
            return None
        if facts is not None and not self._parts(shard).exists():
            self._unpack(shard)
        self._parts(shard).mkdir(parents=True, exist_ok=True)
        return {row for row in rows if not self._has(shard, row)}

    def add(self, row: int, image: bytes, caption: str, facts: dict[str, Any]) -> None:
        """Keep a row's image, a JPEG."""
        base = self._base(row)
        _replace(base.with_suffix(".jpg"), image)
        _replace(base.with_suffix(".json"), _json({"caption": caption, **facts, "bytes": len(image)}))

    def fail(self, row: int, url: str, reason: str, *, temporary: bool) -> None:
        """Keep why a row has no image."""
        _replace(
            self._base(row).with_suffix(".failed"), _json({"row": row, "url": url, "reason": reason, "temporary": temporary})
        )

    def finish(self, shard: int, stop: int) -> None:
        """Pack a shard for all of whose rows something was kept."""
        rows = range(shard * self.rows_per_shard, stop)
        failures = [
            read_json_object(file, remedy=_REMEDY) for row in rows if (file := self._base(row).with_suffix(".failed")).exists()
        ]
        failed = {failure["row"] for failure in failures}
        images = [row for row in rows if row not in failed]
        with (
            _replacing(self._file(shard, ".tar")) as stream,
            tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar,
        ):
            for row in images:
                self._pack(tar, row)
        _replace(
            self._file(shard, ".failures.jsonl"),
            "".join(json.dumps(failure, ensure_ascii=False) + "\n" for failure in failures).encode(),
        )
        facts = {"start": rows.start, "stop": stop, "images": len(images), "failures": len(failures)}
        _replace(self._file(shard, ".json"), _json(facts | {"temporary": sum(failure["temporary"] for failure in failures)}))
        self._discard(shard)

    def _pack(self, tar: tarfile.TarFile, row: int) -> None:
        base = self._base(row)
        facts = base.with_suffix(".json").read_bytes()
        members = (
            (".jpg", base.with_suffix(".jpg").read_bytes()),
            (".txt", parse_object(facts)["caption"].encode()),
            (".json", facts),
        )
        for suffix, data in members:
            member = tarfile.TarInfo(f"{base.name}{suffix}")  # its time is 0, its owner nobody
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))

    def _unpack(self, shard: int) -> None:
        """A finished shard as it was before, but for rows whose failure was temporary; all at once, for a crash may come."""
        temporary = self._parts(shard).with_suffix(".tmp")
        self._discard(shard)
        temporary.mkdir(parents=True)
        with tarfile.open(self._file(shard, ".tar")) as tar:
            for member in tar:
                if not member.name.endswith(".txt"):
                    (temporary / Path(member.name).name).write_bytes(tar.extractfile(member).read())
        for failure in read_json_lines(self._file(shard, ".failures.jsonl"), remedy=_REMEDY):
            if not failure["temporary"]:
                (temporary / f"{failure['row']:09d}.failed").write_bytes(_json(failure))
        temporary.rename(self._parts(shard))

    def _discard(self, shard: int) -> None:
        """Remove what was kept for a shard, in one step as far as a later start can see."""
        parts = self._parts(shard)
        temporary = parts.with_suffix(".tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        if parts.exists():
            parts.rename(temporary)
            shutil.rmtree(temporary)

    def _has(self, shard: int, row: int) -> bool:
        base = self._base(row)
        failure, facts, image = (base.with_suffix(suffix) for suffix in (".failed", ".json", ".jpg"))
        try:
            if failure.exists():
                if not parse_object(failure.read_bytes())["temporary"]:
                    return True
                failure.unlink()  # the break may have been its cause
            return facts.exists() and image.exists() and parse_object(facts.read_bytes())["bytes"] == image.stat().st_size
        except JSONFault:  # the machine went down before it was on the disk
            return False

    def _facts(self, shard: int) -> dict[str, Any] | None:
        file = self._file(shard, ".json")
        return read_json_object(file, remedy=_REMEDY) if file.exists() else None

    def _file(self, shard: int, suffix: str) -> Path:
        return self.folder / f"{shard:05d}{suffix}"

    def _parts(self, shard: int) -> Path:
        return self.folder / _UNFINISHED / f"{shard:05d}"

    def _base(self, row: int) -> Path:
        return self._parts(row // self.rows_per_shard) / f"{row:09d}"


def _json(value: Any) -> bytes:
    return (json.dumps(value, ensure_ascii=False) + "\n").encode(errors="backslashreplace")


def _replace(file: Path, data: bytes) -> None:
    """Write a file so that a crash leaves either the old or the new one. Not synced: there are millions, and sizes are checked."""
    temporary = file.with_name(f"{file.name}.tmp")
    temporary.write_bytes(data)
    temporary.replace(file)


@contextmanager
def _replacing(file: Path) -> Iterator[io.BufferedWriter]:
    """The same for a large file, synced to disk."""
    temporary = file.with_name(f"{file.name}.tmp")
    with temporary.open("wb") as stream:
        yield stream
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(file)
