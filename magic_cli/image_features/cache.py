"""Image features kept on disk between runs, so that no model encodes the same image twice.

One SQLite file for each model and way of preparing images, with one row an image: about 2.4 KB each for CLIP ViT-B/32,
so 12 MB for COCO's 5,000 test images and 2.4 GB for a million. Nothing is removed by itself; to clear it, delete any of
the files, or the whole folder, at any time: what is missing is computed again.
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

# Raised whenever the code between an image file and its feature, or the table, changes: older files are then not used.
_FORMAT = 1
_PACKAGES = ("torch", "torchvision", "transformers", "open_clip_torch", "clip-anytorch", "pillow", "numpy", *EMBEDDED_PACKAGES)
_PRAGMAS = (
    "PRAGMA page_size = 16384",  # of a new file; one of SQLite's own 4,096 bytes would hold a single feature and as much air
    "PRAGMA synchronous = OFF",  # a kill loses nothing; a power failure may damage the file, and the checksums tell
)
_TABLE = "CREATE TABLE IF NOT EXISTS features (digest BLOB PRIMARY KEY, feature BLOB NOT NULL, checksum INTEGER NOT NULL)"
_AT_ONCE = 500


def cache_folder(setting: str | None) -> Path:
    """The folder of the setting, or the user's: ``magic/images`` below XDG_CACHE_HOME, else below ~/.cache."""
    if setting:
        return expanded(setting).absolute()
    return user_cache("images")


def cache_name(model: Mapping[str, Any], **circumstances: Any) -> str:
    """Name of the cache file of one kind of feature: the family, and a digest of all that a feature depends on but the image.

    Args:
        model: What ``load_image_text_model`` says of the model; its files' digests identify the weights and the preparation.
        circumstances: What else changes a feature: device, type of the weights, how images are read.
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
    """The SQLite file of one model; any number of processes may use it at the same time.

    It is opened anew for each call, so that it can be sent to other processes, and be deleted while a run goes on.

    Attributes:
        path: The file; made with its folder when it is not there.
        timeout_seconds: How long to wait while another process writes.
    """

    path: Path
    timeout_seconds: float = 10.0

    def select(self, digests: Sequence[str]) -> dict[str, np.ndarray]:
        """The features (E,) float32 that it holds of images with these SHA-256 digests.

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
        """Keep features (E,) by digest, all or none of them; what it already holds stays. Raises as ``select``."""
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
        """One transaction. The rollback journal, unlike the write-ahead log, also works on network file systems."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(sqlite3.connect(self.path, timeout=self.timeout_seconds)) as database, database:
            for statement in (*_PRAGMAS, _TABLE):
                database.execute(statement)
            yield database


class FeatureCache:
    """A ``FeatureFile`` that never stops a run: what is wrong with it is said once, in one line, and the run goes on without.

    A damaged file is made anew. From a file that can only be read, features are still taken.
    """

    def __init__(self, file: FeatureFile) -> None:
        self._file = file
        self._is_readable = self._is_writable = True
        self._is_mended = False

    def look_up(self, digests: Sequence[str]) -> dict[str, np.ndarray]:
        """Features (E,) float32 by digest, of those images that it holds."""
        if not digests or not self._is_readable:
            return {}
        try:
            return self._file.select(digests)
        except (sqlite3.Error, OSError) as error:
            self._is_readable = self._mend(error)
            return {}

    def keep(self, features: Mapping[str, np.ndarray]) -> None:
        """Remember features (E,) by digest. One that is not finite is left out: another try may do better."""
        finite = {digest: feature for digest, feature in features.items() if np.isfinite(feature).all()}
        if not finite or not self._is_readable or not self._is_writable:
            return
        try:
            self._file.insert(finite)
        except (sqlite3.Error, OSError) as error:
            self._is_writable = self._mend(error)

    def _mend(self, error: Exception) -> bool:
        """Say what is wrong; remove a damaged file, so that a new one is begun. Returns whether that helps."""
        is_damaged = isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError)
        if is_damaged and not self._is_mended:
            self._is_mended = True  # if it is damaged again, the disk is
            try:
                self._file.remove()
            except OSError as failure:
                error = failure
            else:
                log.warning("the image cache %s is damaged (%s); it is made anew", self._file.path, error)
                return True
        remedy = "set run.image_cache to another folder, or run.cache_images=false"
        log.warning("image features are not kept in %s (%s); %s", self._file.path, error, remedy)
        return False
