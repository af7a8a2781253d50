"""`magic caption --images -`: reads paths or addresses from stdin one by one and answers each before it reads the next."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from magic_cli.data.images import quiet_pillow
from magic_cli.data.named_images import ImageRoot
from magic_cli.data.records import ImageRecord
from magic_cli.runs.batches import Batch, BatchWriter
from magic_cli.runs.captions import CaptionTask
from magic_cli.runs.run import DONE, SOME_FAILED
from magic_cli.runs.settings import STDIN, CaptionSettings
from magic_cli.terminal.streams import print_line


def answer_paths(settings: CaptionSettings) -> int:
    """Caption each image that stdin names, one path per line; returns 0, or 3 if some images could not be read.

    The models are loaded before the first line is read. Each path gets one line on stdout at once, ``path<TAB>caption``, so that a
    program that waits for the answer to its path always gets one. Where an image gets no caption, the line has none, and the reason
    goes to stderr. There is no run folder, so nothing is resumed.
    """
    quiet_pillow()
    for note in settings.notes():
        _tell(note)
    writer = BatchWriter(settings, CaptionTask(settings), Path())
    writer.load(_Forgotten(), _record(STDIN))
    status = DONE
    for number, path in enumerate(itertools.islice(_lines(), settings.dataset.limit)):
        item = _record(path)
        result = writer.write(Batch(number, (item,)), [writer.reader.read(item.path)])
        for failure in result.failures:
            _tell(f"no caption for {path}: {failure['reason']}")
            status = status if failure.get("skipped") else SOME_FAILED
        print_line(path, result.predictions[0]["caption"] if result.predictions else "")
    return status


def _lines() -> Iterator[str]:
    """Yield the non-empty lines of stdin as they come. Bytes that are not UTF-8 give the same file names as elsewhere."""
    for line in iter(sys.stdin.buffer.readline, b""):
        if name := line.rstrip(b"\r\n"):
            yield os.fsdecode(name)


def _tell(note: str) -> None:
    print(f"magic: {note}", file=sys.stderr, flush=True)


def _record(path: str) -> ImageRecord:
    image = ImageRoot("", follows=True).image(path)
    return ImageRecord(id=path, path=image, image_name=image.name)


class _Forgotten:
    """Facts about the models that are not kept, because there is no manifest."""

    def use_models(self, models: dict[str, Any]) -> None:
        """Ignore the models: there are no earlier ones to compare them with."""

    def record(self, **facts: Any) -> None:
        """Ignore the facts: nothing reads them later."""
