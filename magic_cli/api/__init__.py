"""The Python API: what a notebook or a program imports, and what the commands rest on. ``magic_cli`` gives its names."""

from magic_cli.api.captioner import Captioner, load
from magic_cli.api.results import Candidate, Caption, Step, Story, StreamedStep, Text
from magic_cli.api.scoring import Comparison, Difference, Scores, compare, score

__all__ = [
    "Candidate", "Caption", "Captioner", "Comparison", "Difference", "Scores", "Step", "Story", "StreamedStep", "Text", "compare",
    "load", "score",
]  # fmt: skip
