"""A run of ``magic caption`` that reports each token as it is written, and can be stopped between two tokens."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from magic_cli.data.json_text import parse_json
from magic_cli.data.run_files import PREDICTIONS
from magic_cli.errors import MagicError, of_machine
from magic_cli.live.wishes import Wish
from magic_cli.models.shelf import Shelf
from magic_cli.models.work_counter import WorkCounter
from magic_cli.runs.batches import BatchWriter
from magic_cli.runs.captions import CaptionTask
from magic_cli.runs.folder import FAILURES, RunFolder
from magic_cli.runs.kinds import Item, WritingTask
from magic_cli.runs.run import write_texts
from magic_cli.runs.writer import Writer


class Stopped(Exception):
    """The visitor has stopped the run."""


@dataclass
class Loaded:
    """The models that stay loaded from run to run; one run at a time uses them."""

    shelf: Shelf = field(default_factory=Shelf)
    work: WorkCounter = field(default_factory=WorkCounter)
    """The counter of work with which the models were loaded."""
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True)
class Told:
    """The progress of a caption."""

    text: str
    is_done: bool = False


class _LiveBatchWriter(BatchWriter):
    """Reports the text after each step.

    Args:
        settings, task, folder: As in ``BatchWriter``.
        loaded: The models.
        tell: Called with the text so far; may raise ``Stopped``.
    """

    def __init__(self, settings: Any, task: WritingTask, folder: Path, *, loaded: Loaded, tell: Callable[[str], None]) -> None:
        super().__init__(settings, task, folder, loaded.shelf)
        loaded.work.counts.clear()
        loaded.work.seconds.clear()
        self.work = loaded.work
        self._tell = tell
        self._ids: list[int] = []

    def traced(self, item: Item, line: dict[str, Any]) -> None:
        if not self.decoder.method.writes_in_order:  # the steps belong to several texts, one of which is chosen at the end
            self._tell("")
            return
        self._ids.append(line["choice"])
        self._tell(self.decoder.format.text(self.decoder.prompt(item), self._ids))


class _LiveWriter(Writer):
    """The loop of a run that reports each step."""

    def __init__(self, settings: Any, task: WritingTask, run: RunFolder, *, loaded: Loaded, tell: Callable[[str], None]) -> None:
        super().__init__(settings, task, run)
        self._loaded, self._tell = loaded, tell

    def make_batch_writer(self) -> BatchWriter:
        return _LiveBatchWriter(self.settings, self.task, self.run.path, loaded=self._loaded, tell=self._tell)


def write_caption(wish: Wish, photo: Path, folder: Path, loaded: Loaded, stop: threading.Event) -> Iterator[Told]:
    """Write one caption into a run folder, as ``magic caption`` does; yields the text as it grows.

    If the run is stopped, or the caller stops reading, the run and its thread end at the next token.

    Args:
        wish: The request.
        photo: The image file.
        folder: The run folder to make.
        loaded: The models.
        stop: Set to stop the run.

    Raises:
        MagicError: It cannot be written: a model is damaged, a setting is wrong, or the machine has no room for it.
        Stopped: ``stop`` was set.
    """
    told: SimpleQueue[Told | BaseException] = SimpleQueue()
    given_up = threading.Event()

    def tell(text: str) -> None:
        if stop.is_set() or given_up.is_set():
            raise Stopped
        told.put(Told(text))

    def work() -> None:
        try:
            with loaded.lock:
                settings = wish.settings(photo, folder)
                tell("")
                write_texts(settings, CaptionTask(settings), partial(_LiveWriter, loaded=loaded, tell=tell))
            told.put(Told(_caption(folder), is_done=True))
        except BaseException as error:
            told.put(error)

    thread = threading.Thread(target=work, name="magic live", daemon=True)
    thread.start()
    try:
        while True:
            news = told.get()
            if isinstance(news, BaseException):
                if stop.is_set():  # the run folder may have been deleted
                    raise Stopped from news
                raise of_machine(news, replace(wish.models.machine, batch_size=1), "write the caption again") or news
            yield news
            if news.is_done:
                return
    finally:
        given_up.set()
        thread.join()


def _caption(folder: Path) -> str:
    """The caption that the run has written.

    Raises:
        MagicError: It wrote none; the message is the run's reason.
    """
    file = folder / PREDICTIONS
    if file.is_file():
        return parse_json(file.read_text(encoding="utf-8").split("\n")[0])["caption"]
    failure = parse_json((folder / FAILURES).read_text(encoding="utf-8").split("\n")[0])
    raise MagicError(f"no caption: {failure['reason']}")
