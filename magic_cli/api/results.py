"""What the Python API gives back: texts, and how each token came about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_ROWS = ("token_ids", "tokens", "p", "penalty", "f", "score")
"""What a line of trace.jsonl says of each candidate, in the order of ``Candidate``'s fields; ``f_2`` and so on are of further guides."""


@dataclass(frozen=True)
class Candidate:
    """A token that might have come next. None: the term has no weight, or nobody had to look.

    Attributes:
        token_id: Of the language model.
        token: Its text.
        confidence: The language model's probability of it, in [0, 1].
        penalty: Degeneration penalty (equation 2), in [-1, 1].
        image_score: How well its text fits the image, beside those of the other candidates (equation 4), in [0, 1].
        score: What the choice went by (equation 5).
        guide_scores: Scores by guides other than the image, in the order of ``guides``, each in [0, 1].
    """

    token_id: int
    token: str
    confidence: float | None = None
    penalty: float | None = None
    image_score: float | None = None
    score: float | None = None
    guide_scores: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class Step:
    """One choice.

    Attributes:
        number: From 0.
        chosen: The token that was chosen, with its scores. Methods that draw from all tokens have none to tell.
        candidates: What it was chosen from, likeliest first; empty where a method chooses from all tokens.
        details: The step as a line of trace.jsonl, for methods that have more to say (beam, rerank, zerocap).
    """

    number: int
    chosen: Candidate
    candidates: tuple[Candidate, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def token(self) -> str:
        """The text of the chosen token."""
        return self.chosen.token


@dataclass(frozen=True)
class StreamedStep(Step):
    """One choice of a text that is being written.

    Attributes:
        text: The text so far.
        new_text: What can be printed behind what was printed before: all of these together are the whole text. The last word is held
            back until it is complete, so this may be empty.
    """

    text: str = ""
    new_text: str = ""

    def __str__(self) -> str:
        return self.new_text


@dataclass(frozen=True)
class Text:
    """A text that was written.

    Attributes:
        id: The image's name, or the title; a sampled method draws by it and by the seed.
        text: The text itself; None: there is none, for the reason in ``error``.
        token_ids: Of the language model, those that follow the prompt. Empty where no language model wrote (clipre).
        tokens: Their texts.
        steps: With ``trace=True``, how each token was chosen.
        image: The image file; None: it was in memory, or there is none.
        details: What else the method says of the text, as in predictions.jsonl: clipre's other captions.
        error: Why there is no text (``on_error="skip"``).
    """

    id: str
    text: str | None
    token_ids: tuple[int, ...] = ()
    tokens: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    image: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None

    def __str__(self) -> str:
        return self.text or ""


@dataclass(frozen=True)
class Caption(Text):
    """A caption of an image."""


@dataclass(frozen=True)
class Story(Text):
    """A story for a title."""

    title: str = ""


def step_of(line: Mapping[str, Any]) -> Step:
    """A step, from what a trace says of it: ``choice``, and lists with an entry for each candidate."""
    if "candidate" in line:  # best of N: a line for each text
        return Step(line["step"], Candidate(-1, line["text"], score=line["cosine"]), details=dict(line))
    ids = line.get("token_ids")
    if ids is None:
        return Step(line["step"], Candidate(line["choice"], line["tokens"][0]), details=dict(line))
    columns = [line.get(name) or [None] * len(ids) for name in _ROWS]
    others = [line[name] or [None] * len(ids) for name in sorted(line) if name.startswith("f_")]
    found = tuple(
        Candidate(*row, guide_scores=tuple(column[place] for column in others))
        for place, row in enumerate(zip(*columns, strict=True))
    )
    chosen = next((one for one in found if one.token_id == line["choice"]), None)
    return Step(line["step"], chosen or Candidate(line["choice"], ""), found, dict(line))


def record_of(text: Text) -> dict[str, Any]:
    """A text as a record of a prediction file; one that could not be written has no text."""
    image = {} if text.image is None else {"image": text.image}
    if isinstance(text, Story):
        return {"id": text.id, "title": text.title, **image, "story": text.text}
    return {"id": text.id, **image, "caption": text.text}
