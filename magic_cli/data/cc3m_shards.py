"""Images and captions of the shards that scripts/prepare_conceptual_captions.py writes; each shard is unpacked once."""

from __future__ import annotations

import re
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from magic_cli.data.paths import make_output
from magic_cli.errors import MagicError

_MEMBER = re.compile(r"(\d+)\.(jpg|txt)")


def shard_rows(shards: Sequence[Path], root: Path) -> Iterator[tuple[int, str, Path]]:
    """Number, caption and image of each row, shard by shard.

    Args:
        shards: The shard files. A shard that was unpacked before is not read again.
        root: Each shard is unpacked into a subfolder of its own name.

    Raises:
        MagicError: A shard is damaged or holds no captions, or the disk is full.
    """
    make_output(root)
    for shard in shards:
        folder = root / shard.stem
        if not folder.is_dir():
            _unpack(shard, folder)
        captions = sorted(folder.glob("*.txt"))
        if not captions:
            raise MagicError(
                f"dataset.captions={shard}: holds no images with captions; name shards of scripts/prepare_conceptual_captions.py"
            )
        for file in captions:
            yield int(file.stem), file.read_text(encoding="utf-8"), file.with_suffix(".jpg")


def _unpack(shard: Path, folder: Path) -> None:
    """Unpack a shard in one go, so that an interrupted start leaves nothing that looks like a finished folder."""
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                if member.isfile() and _MEMBER.fullmatch(member.name):
                    source = tar.extractfile(member)
                    assert source is not None  # of a plain file it is there
                    with source, (temporary / member.name).open("wb") as target:
                        shutil.copyfileobj(source, target)
        temporary.rename(folder)
    except (tarfile.TarError, EOFError) as error:
        raise MagicError(
            f"dataset.captions={shard}: is not a complete tar file ({error}); make it again, or leave it out"
        ) from error
    except OSError as error:
        raise MagicError(
            f"dataset.root={folder.parent}: {shard.name} cannot be unpacked there ({error.strerror}); make room, or name another folder"
        ) from error
