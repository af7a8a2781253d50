"""Image files read ahead of who needs them, in processes of their own, so that decoding text never waits for decoding images."""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import math
import multiprocessing
import multiprocessing.connection
import os
import re
import signal
import sqlite3
import stat
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magic_cli.data.images import ImageBytes, StoredImage, UnreadableImage, open_image, quiet_pillow, require_file
from magic_cli.errors import MagicError
from magic_cli.image_features.cache import FeatureFile
from magic_cli.models.sources import sha256

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

BATCHES_AHEAD = 2
"""Batches whose images are read while the models work on another."""
_NICENESS = 10
_MOST_WORKERS = 8
_START_METHOD = "fork" if sys.platform == "linux" else None  # at once and in shared memory; elsewhere what Python thinks is safe


@dataclass(frozen=True)
class View:
    """An image as one image-text model needs it.

    Attributes:
        feature: (E,) float32 from the cache; None if it holds none, and the image has to be encoded.
        prepared: The image as ``ImageTextModel.prepare_image`` gives it; None if there is a feature.
    """

    feature: np.ndarray | None = None
    prepared: Any = None


@dataclass(frozen=True)
class ReadImage:
    """An image file that could be read.

    Attributes:
        digest: SHA-256 of the file.
        views: For each of the reader's looks, in their order.
    """

    digest: str
    views: tuple[View, ...] = ()


@dataclass(frozen=True)
class Look:
    """How images are made ready for one image-text model.

    Attributes:
        prepare: Turns an RGB image into what the model encodes.
        features: Where features of images may lie that it encoded before.
    """

    prepare: Callable[[Image], Any]
    features: FeatureFile | None = None

    def kept(self, digest: str) -> np.ndarray | None:
        """The feature of an image, if there is one already."""
        if self.features is None:
            return None
        try:
            return self.features.select([digest]).get(digest)
        except (sqlite3.Error, OSError):
            return None  # the main process looks again before it encodes, meets the same trouble and tells

    def at(self, image: Image) -> View:
        """The image, prepared.

        Raises:
            UnreadableImage: The model cannot take it.
        """
        try:
            return View(prepared=self.prepare(image))
        except (ValueError, MemoryError, RuntimeError) as error:
            raise cannot_take(error) from error


@dataclass(frozen=True)
class ImageReader:
    """What is done with one image file; can be sent to another process.

    Attributes:
        apply_exif_orientation, skip_greyscale: As in ``open_image``.
        looks: One for each image-text model that will look at the images; may be none.
    """

    apply_exif_orientation: bool = True
    skip_greyscale: bool = False
    looks: tuple[Look, ...] = ()

    def read(self, path: Path | StoredImage) -> ReadImage | UnreadableImage:
        """Digest of the file, and for each look its feature from the cache or the prepared image; decoded only if one has none."""
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
            self._open(path)  # says what is wrong in the same words as for other damaged files
            raise UnreadableImage(f"vanished while it was read ({error.strerror})") from error
        kept = self._kept(digest)
        if not self._is_wanted(kept):
            return self._look(digest, kept, None)
        read = self._look(digest, kept, self._open(path))
        if _changed(path, before):  # the digest might belong to another picture
            raise UnreadableImage("changed while it was read")
        return read

    def read_bytes(self, data: bytes, name: str) -> ReadImage:
        """As ``read``, of a file's content.

        Raises:
            UnreadableImage: It cannot be read.
        """
        digest = hashlib.sha256(data).hexdigest()
        kept = self._kept(digest)
        return self._look(digest, kept, self._open(ImageBytes(data, name)) if self._is_wanted(kept) else None)

    def read_picture(self, picture: Image) -> ReadImage:
        """As ``read``, of an image in memory. Raises UnreadableImage if it cannot be taken."""
        image = self._open(picture)
        digest = hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest()
        return self._look(digest, self._kept(digest), image)

    def _open(self, path: Path | ImageBytes | Image) -> Image:
        return open_image(path, apply_exif_orientation=self.apply_exif_orientation, skip_greyscale=self.skip_greyscale)

    def _kept(self, digest: str) -> list[np.ndarray | None]:
        return [look.kept(digest) for look in self.looks]

    def _is_wanted(self, kept: Sequence[np.ndarray | None]) -> bool:
        """Whether the image itself must be decoded: if only to see that it can be, where no model looks."""
        return not kept or any(feature is None for feature in kept)

    def _look(self, digest: str, kept: Sequence[np.ndarray | None], image: Image | None) -> ReadImage:
        pairs = zip(self.looks, kept, strict=True)
        return ReadImage(digest, tuple(look.at(image) if feature is None else View(feature) for look, feature in pairs))


def _changed(path: Path, before: os.stat_result) -> bool:
    try:
        after = os.stat(path)
    except OSError:
        return False  # deleted after it was read: what was read still holds
    return (before.st_ino, before.st_size, before.st_mtime_ns) != (after.st_ino, after.st_size, after.st_mtime_ns)


def cannot_take(error: Exception) -> UnreadableImage:
    """The reason of an image on which the image-text model fails."""
    return UnreadableImage(f"the image-text model cannot take it ({type(error).__name__}: {error})")


def choose_workers(setting: int | None) -> int:
    """Number of reading processes: ``run.workers``, or half the cores that this process may use, 1 to 8."""
    if setting is not None:
        return setting
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(_MOST_WORKERS, max(1, cores // 2))


class ImageStream:
    """Reads image files in order, some of them ahead; use as a context manager.

    Args:
        reader: What is done with each.
        paths: The files.
        workers: Processes that read; 0: this process reads, and nothing ahead.
        ahead: Images read before they are asked for, at least 1; less than ``workers`` more may be in the making.

    Raises:
        MagicError: When the context ends: a process could not be started, or was ended from outside.
    """

    def __init__(self, reader: ImageReader, paths: Sequence[Path | StoredImage], *, workers: int, ahead: int) -> None:
        self._reader, self._paths, self._ahead = reader, paths, ahead
        # a launcher of sweeps may run us in a process that must not have children
        self._workers = 0 if multiprocessing.current_process().daemon else workers

    def __enter__(self) -> ImageStream:
        self._items = self._start() if self._workers and self._paths else map(self._reader.read, self._paths)
        return self

    def take(self, count: int) -> list[ReadImage | UnreadableImage]:
        """The next ``count`` images (fewer at the end), or why they cannot be read."""
        return list(itertools.islice(self._items, count))

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        del self._items  # nobody else knows the loader's iterator: its processes end now
        if is_worker_death(error):
            time.sleep(0.2)  # a signal to all of us reaches the main process, too, and Ctrl-C is then the better answer
            raise MagicError(
                f"run.workers={self._workers}: a process that reads images was ended from outside ({str(error).strip()}); if "
                "memory ran out, lower run.workers or run.batch_size (run.workers=0: the main process reads), then start again"
            ) from error

    def _start(self) -> Iterator[ReadImage | UnreadableImage]:
        from torch.utils.data import DataLoader

        # the tokenizers library would tell of the fork at length; no tokenizer runs in the processes
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, of more processes than cores
            loader = DataLoader(
                _Files(self._reader, self._paths),
                batch_size=None,
                num_workers=self._workers,
                prefetch_factor=math.ceil(self._ahead / self._workers),
                collate_fn=_as_it_is,
                worker_init_fn=_begin_worker,
                multiprocessing_context=_START_METHOD,
            )
            # children inherit it: Ctrl-C is for the main process
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
            others = set(multiprocessing.active_children())
            try:
                return iter(loader)
            except OSError as error:
                # the loader forgets those that it could start before one was refused
                for process in set(multiprocessing.active_children()) - others:
                    process.kill()
                    process.join()
                problem = f"processes that read images cannot be started ({error.strerror})"
                raise MagicError(f"run.workers={self._workers}: {problem}; set run.workers=0") from error
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def is_worker_death(error: BaseException | None) -> bool:
    """Whether an exception tells of the end of a reading process. It may be raised wherever the main process is just then."""
    return isinstance(error, RuntimeError) and re.match(r"DataLoader worker \(pid", str(error)) is not None


class _Files:
    """The files as DataLoader wants them."""

    def __init__(self, reader: ImageReader, paths: Sequence[Path | StoredImage]) -> None:
        self._reader, self._paths = reader, paths

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, number: int) -> ReadImage | UnreadableImage:
        return self._reader.read(self._paths[number])


def _as_it_is(item: ReadImage | UnreadableImage) -> ReadImage | UnreadableImage:
    """Keeps arrays arrays: tensors would travel through shared memory, of which containers have little."""
    return item


def _begin_worker(number: int) -> None:
    """First thing in a reading process: give way to the decoder, hold nothing of the parent's, end when it ends."""
    os.nice(_NICENESS)
    quiet_pillow()
    _release_files()
    threading.Thread(target=end_with_parent, daemon=True).start()


def _release_files() -> None:
    """Close files that a fork has inherited open for writing: the lock of a run folder must not outlive the run."""
    for number in map(int, os.listdir("/dev/fd")):
        try:
            is_file, mode = stat.S_ISREG(os.fstat(number).st_mode), fcntl.fcntl(number, fcntl.F_GETFL)
        except OSError:
            continue  # the listing's own descriptor, closed by now
        if number > 2 and is_file and mode & os.O_ACCMODE != os.O_RDONLY:
            os.close(number)


def end_with_parent() -> None:
    """Wait for the parent process to end, then end this one: at once, whatever the main thread is doing; DataLoader's own watchdog takes seconds and waits for full pipes."""
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)
