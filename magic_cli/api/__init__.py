"""The Python API for notebooks and programs; the commands use it, too. ``magic_cli`` exports its names."""

from magic_cli.api.captioner import Captioner, load
from magic_cli.api.results import Candidate, Caption, Step, Story, StreamedStep, Text
from magic_cli.api.scoring import Comparison, Difference, Scores, compare, score

__all__ = [
    "Candidate", "Caption", "Captioner", "Comparison", "Difference", "Scores", "Step", "Story", "StreamedStep", "Text", "compare",
    "load", "score",
]  # fmt: skip
