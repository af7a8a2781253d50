"""Where the images of shards are, looked up once: to find them, a whole tar file must be gone through from member to member.

What was found is kept below the user's cache (``magic/shards``), one file a shard, for as long as the shard stays as it is. The
files may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from array import array
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from magic_cli.data.addresses import known_state
from magic_cli.data.json_text import JSONFault, parse_object
from magic_cli.data.paths import user_cache
from magic_cli.data.shards import Contents, read_shard
from magic_cli.data.unread_captions import UnreadCaptions

_FORMAT = 3
"""Raised whenever what is kept, or how it is found, changes."""


@dataclass
class Shard:
    """What is known of a shard; about 100 bytes an image, and its captions.

    Attributes:
        place: Of the tar file.
        state: As ``addresses.state_of``.
        names: Of the images, as the shard gives them, in its order.
        offsets, sizes: Where their bytes are; 0 and 0 where there are none.
        faults: Why an image cannot be read, by its row.
        hidden: Names of hidden images, which are left out.
        captions: Of each image; empty: none were asked for.
        unread: Captions that could not be read.
    """

    place: str
    state: str | None
    names: list[str]
    offsets: array[int]
    sizes: array[int]
    faults: dict[int, str]
    hidden: list[str]
    captions: list[tuple[str, ...]]
    unread: UnreadCaptions

    @cached_property
    def rows(self) -> dict[str, int]:
        """Row of each image by its name."""
        return {name: row for row, name in enumerate(self.names)}


def open_shard(place: str, *, caption_key: str | None = None) -> Shard:
    """What is known of a shard: from the cache, else by going through it.

    Args:
        place: Of the tar file.
        caption_key: As in ``shards.read_shard``.

    Raises:
        MagicError: As ``shards.read_shard``.
    """
    state = known_state(place)
    name = hashlib.sha256(f"{_FORMAT} {caption_key!r} {place}".encode(errors="surrogatepass")).hexdigest()[:32]
    file = user_cache("shards") / f"{name}.json"
    kept = None if state is None else _kept(file, place, state)
    if kept is not None:
        return kept
    shard = _made(place, state, read_shard(place, caption_key=caption_key), are_captions_wanted=caption_key is not None)
    if state is not None:
        _keep(file, shard)
    return shard


def _made(place: str, state: str | None, contents: Contents, *, are_captions_wanted: bool) -> Shard:
    images, captions = contents.images, contents.captions
    return Shard(
        place,
        state,
        names=[image.name.removeprefix("./") for image in images],
        offsets=array("Q", (image.offset for image in images)),
        sizes=array("Q", (image.size for image in images)),
        faults={row: image.fault for row, image in enumerate(images) if image.fault is not None},
        hidden=contents.hidden,
        captions=[captions.get(image.key, ()) for image in images] if are_captions_wanted else [],
        unread=contents.unread,
    )


def _kept(file: Path, place: str, state: str) -> Shard | None:
    """What an earlier look has kept; None: nothing that still holds."""
    try:
        found: dict[str, Any] = parse_object(file.read_bytes())
        if found["place"] != place or found["state"] != state:
            return None
        return Shard(
            place,
            state,
            names=found["names"],
            offsets=array("Q", found["offsets"]),
            sizes=array("Q", found["sizes"]),
            faults={int(row): fault for row, fault in found["faults"].items()},
            hidden=found["hidden"],
            captions=[tuple(texts) for texts in found["captions"]],
            unread=UnreadCaptions(**found["unread"]),
        )
    except (OSError, JSONFault, KeyError, TypeError, ValueError):  # not there, or damaged: it is made anew
        return None


def _keep(file: Path, shard: Shard) -> None:
    """A folder that cannot be written costs the next start time, and nothing else."""
    document = {
        "place": shard.place, "state": shard.state, "names": shard.names, "offsets": list(shard.offsets), "sizes": list(shard.sizes),
        "faults": shard.faults, "hidden": shard.hidden, "captions": shard.captions, "unread": asdict(shard.unread),
    }  # fmt: skip
    temporary = file.with_name(f"{file.stem}.{os.getpid()}.tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(document), encoding="utf-8")
        temporary.replace(file)
    except OSError:
        with contextlib.suppress(OSError):  # of a folder that cannot be entered
            temporary.unlink(missing_ok=True)
