"""magic interleave: write texts and draw images in turn, for one step or a whole story, into a run folder like caption's."""

from __future__ import annotations

from magic_cli.interleaved.diffusion_writer import DiffusionWriter
from magic_cli.interleaved.run_settings import DrawFrom, InterleaveSettings
from magic_cli.interleaved.task import InterleavedTask
from magic_cli.interleaved.writer import InterleavedWriter
from magic_cli.runs.run import write_texts


def run(settings: InterleaveSettings) -> int:
    """Answer every step of every item; returns 0, or 3 if some items could not be written.

    Answers go to stdout as ``id<TAB>text [image]``, in the order of the data set, with those of an earlier start.
    """
    writer = DiffusionWriter if settings.draw_from is DrawFrom.told else InterleavedWriter
    return write_texts(settings, InterleavedTask(settings), writer)
