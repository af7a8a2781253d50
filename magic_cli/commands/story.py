"""magic story: write stories for titles, with or without an image to look at, into a run folder like caption's."""

from __future__ import annotations

from magic_cli.runs.run import write_texts
from magic_cli.runs.settings import StorySettings
from magic_cli.runs.stories import StoryTask


def run(settings: StorySettings) -> int:
    """Write a story for every title, or for each of its images; returns 0, or 3 if some could not be written.

    Stories go to stdout as ``title<TAB>story``, in the order of the data set, with those of an earlier start.
    """
    return write_texts(settings, StoryTask(settings))
