"""magic caption: write captions for images into a run folder that survives any crash."""

from __future__ import annotations

from magic_cli.runs.answering import answer_paths
from magic_cli.runs.captions import CaptionTask
from magic_cli.runs.run import write_texts
from magic_cli.runs.settings import CaptionSettings


def run(settings: CaptionSettings) -> int:
    """Caption every image of the data set; returns 0, or 3 if some could not be read.

    Captions go to stdout as ``id<TAB>caption``, in the order of the data set, with those of an earlier start.
    """
    if settings.asks_stdin:
        return answer_paths(settings)
    return write_texts(settings, CaptionTask(settings))
