"""Image features kept on disk between runs, so that no model encodes the same image twice.

There is one SQLite file for each model and way of preparing images, with one row per image. A row takes about 2.4 KB for CLIP
ViT-B/32: 12 MB for COCO's 5,000 test images, 2.4 GB for a million. Nothing is deleted automatically. Any file, or the whole
folder, may be deleted at any time; missing features are computed again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import sqlite3
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from magic_cli.data.paths import expanded, user_cache
from magic_cli.models.sources import EMBEDDED_PACKAGES

log = logging.getLogger(__name__)

# Raised whenever the table, or the code between an image file and its feature, changes: older files are then ignored.
_FORMAT = 1
_PACKAGES = ("torch", "torchvision", "transformers", "open_clip_torch", "clip-anytorch", "pillow", "numpy", *EMBEDDED_PACKAGES)
_PRAGMAS = (
    "PRAGMA page_size = 16384",  # for a new file; SQLite's 4,096 bytes would hold one feature and as much empty space
    "PRAGMA synchronous = OFF",  # a kill loses nothing; a power failure may damage the file, and the checksums show it
)
_TABLE = "CREATE TABLE IF NOT EXISTS features (digest BLOB PRIMARY KEY, feature BLOB NOT NULL, checksum INTEGER NOT NULL)"
_AT_ONCE = 500


def cache_folder(setting: str | None) -> Path:
    """The folder of the setting; None: ``magic/images`` below XDG_CACHE_HOME, else below ~/.cache."""
    if setting:
        return expanded(setting).absolute()
    return user_cache("images")


def cache_name(model: Mapping[str, Any], **circumstances: Any) -> str:
    """File name for one kind of feature: the family, and a digest of everything but the image that a feature depends on.

    Args:
        model: The description by ``load_image_text_model``; digests of files identify the weights and the preparation.
        circumstances: Other things that change a feature: device, number type of the weights, how images are read.
    """
    without_effect = ("logit_scale", "revision", "commit")
    facts = {key: value for key, value in model.items() if key not in without_effect}
    made_of = {"format": _FORMAT, "model": facts, "packages": _versions(), **circumstances}
    digest = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()
    return f"{model['family']}-{digest[:32]}.sqlite"


def _versions() -> dict[str, str]:
    versions = {}
    for package in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return versions


@dataclass(frozen=True)
class FeatureFile:
    """The SQLite file of one model. Several processes may use it at the same time.

    It is opened for each call, so it can be sent to other processes, and may be deleted during a run.

    Attributes:
        path: The file; it is created, with its folder, if it does not exist.
        timeout_seconds: How long to wait while another process writes.
    """

    path: Path
    timeout_seconds: float = 10.0

    def select(self, digests: Sequence[str]) -> dict[str, np.ndarray]:
        """The stored features (E,) float32 of images with these SHA-256 digests.

        Raises:
            sqlite3.DatabaseError: The file is damaged; its subclass OperationalError: it cannot be read.
            OSError: Its folder cannot be made.
        """
        rows: list[tuple[bytes, bytes, int]] = []
        with self._open() as database:
            for start in range(0, len(digests), _AT_ONCE):
                keys = [bytes.fromhex(digest) for digest in digests[start : start + _AT_ONCE]]
                marks = ",".join("?" * len(keys))
                rows += database.execute(f"SELECT digest, feature, checksum FROM features WHERE digest IN ({marks})", keys)
        if any(not isinstance(blob, bytes) or zlib.crc32(key + blob) != checksum for key, blob, checksum in rows):
            raise sqlite3.DatabaseError("a checksum is wrong")
        return {key.hex(): np.frombuffer(blob, "<f4").astype(np.float32) for key, blob, _ in rows}

    def insert(self, features: Mapping[str, np.ndarray]) -> None:
        """Store features (E,) by digest, all of them or none. Stored ones are not changed. Raises the errors of ``select``."""
        blobs = [(bytes.fromhex(digest), feature.astype("<f4").tobytes()) for digest, feature in features.items()]
        rows = [(key, blob, zlib.crc32(key + blob)) for key, blob in blobs]
        with self._open() as database:
            database.executemany("INSERT OR IGNORE INTO features VALUES (?, ?, ?)", rows)

    def remove(self) -> None:
        """Delete the file."""
        for file in (self.path, self.path.with_name(f"{self.path.name}-journal")):
            file.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """One transaction. The rollback journal works on network file systems, unlike the write-ahead log."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(sqlite3.connect(self.path, timeout=self.timeout_seconds)) as database, database:
            for statement in (*_PRAGMAS, _TABLE):
                database.execute(statement)
            yield database


class FeatureCache:
    """A ``FeatureFile`` that never stops a run: a problem is reported once, in one line, and the run continues without it.

    A damaged file is replaced. A read-only file is still read.
    """

    def __init__(self, file: FeatureFile) -> None:
        self._file = file
        self._is_readable = self._is_writable = True
        self._is_mended = False

    def look_up(self, digests: Sequence[str]) -> dict[str, np.ndarray]:
        """The stored features (E,) float32, by digest."""
        if not digests or not self._is_readable:
            return {}
        try:
            return self._file.select(digests)
        except (sqlite3.Error, OSError) as error:
            self._is_readable = self._mend(error)
            return {}

    def keep(self, features: Mapping[str, np.ndarray]) -> None:
        """Store features (E,) by digest. A feature that is not finite is left out; another try may succeed."""
        finite = {digest: feature for digest, feature in features.items() if np.isfinite(feature).all()}
        if not finite or not self._is_readable or not self._is_writable:
            return
        try:
            self._file.insert(finite)
        except (sqlite3.Error, OSError) as error:
            self._is_writable = self._mend(error)

    def _mend(self, error: Exception) -> bool:
        """Report the problem, and delete a damaged file so that a new one is begun. Returns whether a second try makes sense."""
        is_damaged = isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError)
        if is_damaged and not self._is_mended:
            self._is_mended = True  # a second damage would be a fault of the disk
            try:
                self._file.remove()
            except OSError as failure:
                error = failure
            else:
                log.warning("the image cache %s is damaged (%s); a new one is made", self._file.path, error)
                return True
        remedy = "set run.image_cache to another folder, or run.cache_images=false"
        log.warning("image features are not kept in %s (%s); %s", self._file.path, error, remedy)
        return False
