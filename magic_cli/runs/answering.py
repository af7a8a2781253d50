"""`magic caption --images -`: reads paths or addresses from stdin one by one and answers each before it reads the next."""

from __future__ import annotations

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

    The models are loaded before the first line is read. Each answer goes to stdout at once, as ``path<TAB>caption``. Where an
    image gets no caption, the reason goes to stderr. There is no run folder, so nothing is resumed.
    """
    quiet_pillow()
    writer = BatchWriter(settings, CaptionTask(settings), Path())
    writer.load(_Forgotten(), _record(STDIN))
    status = DONE
    for number, path in enumerate(_lines()):
        item = _record(path)
        result = writer.write(Batch(number, (item,)), [writer.reader.read(item.path)])
        for prediction in result.predictions:
            print_line(path, prediction["caption"])
        for failure in result.failures:
            print(f"magic: no caption for {path}: {failure['reason']}", file=sys.stderr, flush=True)
            status = SOME_FAILED
    return status


def _lines() -> Iterator[str]:
    """Yield the non-empty lines of stdin as they come. Bytes that are not UTF-8 give the same file names as elsewhere."""
    for line in iter(sys.stdin.buffer.readline, b""):
        if name := line.rstrip(b"\r\n"):
            yield os.fsdecode(name)


def _record(path: str) -> ImageRecord:
    image = ImageRoot("", follows=True).image(path)
    return ImageRecord(id=path, path=image, image_name=image.name)


class _Forgotten:
    """Facts about the models that are not kept, because there is no manifest."""

    def use_models(self, models: dict[str, Any]) -> None:
        """Ignore the models: there are no earlier ones to compare them with."""

    def record(self, **facts: Any) -> None:
        """Ignore the facts: nothing reads them later."""
