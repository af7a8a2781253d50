"""The results of the Python API: texts, and how each token was chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_ROWS = ("token_ids", "tokens", "p", "penalty", "f", "score")
"""Keys of trace.jsonl for the fields of ``Candidate``, in order; ``f_2`` and so on belong to further guides."""


@dataclass(frozen=True)
class Candidate:
    """A token that could have come next. None: the term has weight 0, or was not computed.

    Attributes:
        token_id: Its id in the language model.
        token: Its text.
        confidence: Its probability in the language model, in [0, 1].
        penalty: Degeneration penalty (equation 2), in [-1, 1].
        image_score: How well its text fits the image, compared with the other candidates (equation 4), in [0, 1].
        score: The total, by which the token is chosen (equation 5).
        guide_scores: Scores of guides other than the image, in the order of ``guides``, each in [0, 1].
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
        number: Number of the step, from 0.
        chosen: The chosen token with its scores. Methods that sample from all tokens have no scores.
        candidates: The candidates, likeliest first; empty if a method chooses from all tokens.
        details: The step as a line of trace.jsonl, for methods with other data (beam, rerank, zerocap).
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
    """One choice of a token in a text that is being written.

    Attributes:
        text: The text so far.
        new_text: The text to print after what was printed before; joined, these are the whole text. A word is held back until it
            is complete, so this may be empty.
    """

    text: str = ""
    new_text: str = ""

    def __str__(self) -> str:
        return self.new_text


@dataclass(frozen=True)
class Text:
    """A written text.

    Attributes:
        id: The image's name, or the title; sampled methods depend on it and on the seed.
        text: The text; None: there is none, see ``error``.
        token_ids: Ids in the language model, without the prompt. Empty if no language model wrote (clipre).
        tokens: Their texts.
        steps: With ``trace=True``, how each token was chosen.
        image: The image file; None: the image was in memory, or there is none.
        details: Further data of the method, as in predictions.jsonl, such as clipre's other captions.
        error: The reason why there is no text (``on_error="skip"``).
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
    """A step, from its data in a trace: ``choice``, and lists with an entry for each candidate."""
    if "candidate" in line:  # best of N: one line per text
        return Step(line["step"], Candidate(-1, line["text"], score=line["cosine"]), details=dict(line))
    ids = line.get("token_ids")
    if ids is None:
        return Step(line["step"], Candidate(line["choice"], line["tokens"][0]), details=dict(line))
    columns = [line.get(name) or [None] * len(ids) for name in _ROWS]
    others = [line[name] or [None] * len(ids) for name in sorted(line) if name.startswith("f_")]
    found = tuple(
        Candidate(*row, guide_scores=tuple(column[place] for column in others))  # type: ignore[misc]  # the other six fields
        for place, row in enumerate(zip(*columns, strict=True))
    )
    chosen = next((one for one in found if one.token_id == line["choice"]), None)
    return Step(line["step"], chosen or Candidate(line["choice"], ""), found, dict(line))


def record_of(text: Text) -> dict[str, Any]:
    """A text as a record of a prediction file; if it could not be written, it has no text."""
    image = {} if text.image is None else {"image": text.image}
    if isinstance(text, Story):
        return {"id": text.id, "title": text.title, **image, "story": text.text}
    return {"id": text.id, **image, "caption": text.text}
