"""Reads image files ahead, in separate processes, so that decoding text never waits for decoding images."""

from __future__ import annotations

import hashlib
import itertools
import math
import multiprocessing
import os
import re
import signal
import sqlite3
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magic_cli.data.images import ImageBytes, StoredImage, UnreadableImage, open_image, require_file
from magic_cli.errors import MagicError
from magic_cli.image_features.cache import FeatureFile
from magic_cli.image_features.reading_process import begin_worker
from magic_cli.image_features.seen import SeenImage
from magic_cli.models.control_groups import usable_cores
from magic_cli.models.sources import sha256

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

BATCHES_AHEAD = 2
"""Batches whose images are read while the models work on another."""
_MOST_WORKERS = 8
_START_METHOD = "fork" if sys.platform == "linux" else None  # fast, and shares memory; elsewhere Python's own choice


@dataclass(frozen=True)
class View:
    """An image in the form that one image-text model needs.

    Attributes:
        feature: (E,) float32 from the cache; None: it is not there, and the image must be encoded.
        prepared: The image as ``ImageTextModel.prepare_image`` returns it; None if there is a feature.
    """

    feature: np.ndarray | None = None
    prepared: Any = None


@dataclass(frozen=True)
class ReadImage:
    """An image file that could be read.

    Attributes:
        digest: SHA-256 of the file.
        views: One for each of the reader's looks, in order.
    """

    digest: str
    views: tuple[View, ...] = ()


@dataclass(frozen=True)
class Look:
    """How images are prepared for one image-text model.

    Attributes:
        prepare: Turns an RGB image into the model's input.
        features: The file that may hold features from earlier runs.
    """

    prepare: Callable[[Image], Any]
    features: FeatureFile | None = None

    def kept(self, digest: str) -> np.ndarray | None:
        """The stored feature of an image; None: there is none."""
        if self.features is None:
            return None
        try:
            return self.features.select([digest]).get(digest)
        except (sqlite3.Error, OSError):
            return None  # the main process tries again before it encodes, and reports the problem

    def at(self, image: Image) -> View:
        """The prepared image.

        Raises:
            UnreadableImage: The model cannot use the image.
        """
        try:
            return View(prepared=self.prepare(image))
        except (ValueError, MemoryError, RuntimeError) as error:
            raise cannot_take(error) from error


@dataclass(frozen=True)
class ImageReader:
    """Reads one image file; can be sent to another process.

    Attributes:
        apply_exif_orientation, skip_greyscale: As in ``open_image``.
        looks: One for each image-text model that uses the images; may be empty.
    """

    apply_exif_orientation: bool = True
    skip_greyscale: bool = False
    looks: tuple[Look, ...] = ()

    def read(self, path: Path | StoredImage) -> ReadImage | UnreadableImage:
        """Digest of the file, and for each look its feature from the cache or the prepared image; decoded only if one has none.

        Of a ``SeenImage`` not even the file is read then.
        """
        if isinstance(path, SeenImage):
            kept = self._kept(path.digest)
            if all(feature is not None for feature in kept):
                return self._look(path.digest, kept, None)
            path = path.image
        try:
            return self.read_bytes(path.read_bytes(), path.name) if isinstance(path, StoredImage) else self._read(path)
        except UnreadableImage as reason:
            return type(reason)(str(reason))  # without the traceback, which keeps the image in memory

    def _read(self, path: Path) -> ReadImage:
        require_file(path)
        try:
            before = os.stat(path)
            digest = sha256(path)
        except OSError as error:
            self._open(path)  # raises the usual error for damaged files
            raise UnreadableImage(f"vanished while it was read ({error.strerror})") from error
        kept = self._kept(digest)
        if not self._is_wanted(kept):
            return self._look(digest, kept, None)
        read = self._look(digest, kept, self._open(path))
        if _changed(path, before):  # else the digest might belong to another image
            raise UnreadableImage("changed while it was read")
        return read

    def read_bytes(self, data: bytes, name: str) -> ReadImage:
        """Read an image from the content of a file.

        Raises:
            UnreadableImage: It cannot be read.
        """
        digest = hashlib.sha256(data).hexdigest()
        kept = self._kept(digest)
        return self._look(digest, kept, self._open(ImageBytes(data, name)) if self._is_wanted(kept) else None)

    def read_picture(self, picture: Image) -> ReadImage:
        """Read an image from memory. Raises UnreadableImage if that is impossible."""
        image = self._open(picture)
        digest = hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest()
        return self._look(digest, self._kept(digest), image)

    def _open(self, path: Path | ImageBytes | Image) -> Image:
        return open_image(path, apply_exif_orientation=self.apply_exif_orientation, skip_greyscale=self.skip_greyscale)

    def _kept(self, digest: str) -> list[np.ndarray | None]:
        return [look.kept(digest) for look in self.looks]

    def _is_wanted(self, kept: Sequence[np.ndarray | None]) -> bool:
        """Whether the image must be decoded. With no model at all it is, to check that it can be."""
        return not kept or any(feature is None for feature in kept)

    def _look(self, digest: str, kept: Sequence[np.ndarray | None], image: Image | None) -> ReadImage:
        pairs = zip(self.looks, kept, strict=True)
        decoded: Any = image  # an image, if a feature is missing
        return ReadImage(digest, tuple(look.at(decoded) if feature is None else View(feature) for look, feature in pairs))


def _changed(path: Path, before: os.stat_result) -> bool:
    try:
        after = os.stat(path)
    except OSError:
        return False  # deleted after it was read; what was read is still valid
    return (before.st_ino, before.st_size, before.st_mtime_ns) != (after.st_ino, after.st_size, after.st_mtime_ns)


def cannot_take(error: Exception) -> UnreadableImage:
    """The reason for an image on which the image-text model fails."""
    return UnreadableImage(f"the image-text model cannot take it ({type(error).__name__}: {error})")


def choose_workers(setting: int | None) -> int:
    """The number of reading processes: ``run.workers``, or half of the available cores, 1 to 8."""
    if setting is not None:
        return setting
    return min(_MOST_WORKERS, max(1, usable_cores() // 2))


class ImageStream:
    """Reads image files in order and ahead of time; use it as a context manager.

    Args:
        reader: Reads each file.
        paths: The files. Each is asked for when it is to be read, in this process, and not kept.
        workers: Number of reading processes; 0: this process reads, and nothing is read ahead.
        ahead: Images read before they are needed, at least 1; up to ``workers`` - 1 more may be in progress.

    Raises:
        MagicError: At the end of the context: a process could not be started, or was killed from outside.
    """

    def __init__(self, reader: ImageReader, paths: Iterable[Path | StoredImage], *, workers: int, ahead: int) -> None:
        self._reader, self._paths, self._ahead = reader, paths, ahead
        # a launcher of sweeps may run this code in a process that must not have children
        self._workers = 0 if multiprocessing.current_process().daemon else workers

    def __enter__(self) -> ImageStream:
        paths = iter(self._paths)
        first = list(itertools.islice(paths, 1)) if self._workers else []  # without one, no process need be started
        self._items = self._start(itertools.chain(first, paths)) if first else map(self._reader.read, paths)
        return self

    def take(self, count: int) -> list[ReadImage | UnreadableImage]:
        """The next ``count`` images (fewer at the end), or the reasons why they cannot be read."""
        return list(itertools.islice(self._items, count))

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        del self._items  # the only reference to the loader's iterator: its processes end now
        if is_worker_death(error):
            time.sleep(0.2)  # if a signal went to all processes, the main one gets it now, and Ctrl-C is then the better answer
            raise MagicError(
                f"run.workers={self._workers}: a process that reads images was ended from outside ({str(error).strip()}); if "
                "memory ran out, lower run.workers or run.batch_size (run.workers=0: the main process reads), then start again"
            ) from error

    def _start(self, paths: Iterator[Path | StoredImage]) -> Iterator[ReadImage | UnreadableImage]:
        from torch.utils.data import DataLoader

        # the tokenizers library would print a long warning about the fork; no tokenizer runs in these processes
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's warning about more processes than cores
            files: Any = _Files(self._reader)  # a Dataset in all but the base class, which would need torch
            order: Any = paths
            loader: Any = DataLoader(
                files,
                batch_size=None,
                sampler=order,  # a file is its own number: processes need no list of all
                num_workers=self._workers,
                prefetch_factor=math.ceil(self._ahead / self._workers),
                collate_fn=_as_it_is,
                worker_init_fn=begin_worker,
                multiprocessing_context=_START_METHOD,
            )
            # inherited by the children: only the main process handles Ctrl-C
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
            others = set(multiprocessing.active_children())
            try:
                return iter(loader)
            except OSError as error:
                # if one process could not be started, the loader forgets those before it
                for process in set(multiprocessing.active_children()) - others:
                    process.kill()
                    process.join()
                problem = f"processes that read images cannot be started ({error.strerror})"
                raise MagicError(f"run.workers={self._workers}: {problem}; set run.workers=0") from error
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def is_worker_death(error: BaseException | None) -> bool:
    """Whether an exception reports the death of a reading process. It may be raised anywhere in the main process."""
    return isinstance(error, RuntimeError) and re.match(r"DataLoader worker \(pid", str(error)) is not None


class _Files:
    """The files in the form that DataLoader needs; what it takes for the number of one is its path."""

    def __init__(self, reader: ImageReader) -> None:
        self._reader = reader

    def __getitem__(self, path: Path | StoredImage) -> ReadImage | UnreadableImage:
        return self._reader.read(path)


def _as_it_is(item: Any) -> Any:
    """Keep arrays as arrays: tensors would need shared memory, of which containers have little."""
    return item
