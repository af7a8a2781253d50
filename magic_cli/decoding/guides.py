"""Guides: what steers a text by how well its continuations fit something, such as an image under an image-text model.

The score of a candidate is ``(1 - alpha) p - alpha penalty + sum of beta_i f_i`` over guides i; MAGIC (equation 5) has one guide. A guide is
one small class: a weight, the model that encodes the candidates' texts, and ``open``, which binds it to the rows of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from magic_cli.decoding.protocols import ImageTextScorer, TextSession, Vocabulary
from magic_cli.errors import refuse_nan

if TYPE_CHECKING:
    from torch import Tensor


class OpenGuide(Protocol):
    """A guide bound to R rows."""

    def match(self, features: Tensor) -> Tensor:
        """How well each text fits on its own, (R, K), larger is better; used to compare texts of different rows.

        Args:
            features: (R, K, E) of the texts, by the guide's ``scorer``.
        """

    def score(self, features: Tensor, forbidden: Tensor | None) -> Tensor:
        """How well candidates' texts fit, (R, K), each in [0, 1].

        Args:
            features: (R, K, E) of the texts, by the guide's ``scorer``.
            forbidden: (R, K) bool: candidates that do not count, whose score is 0; None: all count.
        """

    def select(self, rows: Tensor) -> None:
        """Keep only ``rows`` (S,), in that order."""


class Guide(Protocol):
    """Steers the texts of B prompts by how well they fit something."""

    @property
    def weight(self) -> float:
        """beta, at least 0; a guide with weight 0 is not used."""

    @property
    def scorer(self) -> ImageTextScorer:
        """The model whose text features it uses; guides of the same model share them."""

    @property
    def group(self) -> str:
        """The settings group, for error messages."""

    @property
    def may_ask_few(self) -> bool:
        """Whether steps may be decided before all candidates were asked about (``shortcuts/asking.py``). A guide without it is asked about all.

        Two things must hold, as they do for a softmax: if more candidates count, the others' scores are smaller, all of a row by the same
        factor; and nothing depends on the features of forbidden candidates, which may be NaN.
        """

    def open(self, prompt_of_row: Tensor) -> OpenGuide:
        """Bind it to rows: ``prompt_of_row`` (R,) says which prompt each belongs to."""


@dataclass
class ImageGuide:
    """MAGIC's guide: the softmax over a step's candidates of how their texts match an image (equation 4)."""

    scorer: ImageTextScorer
    vectors: Tensor
    """(B, E) projected image features, one for every prompt, not normalised."""
    weight: float = 1.0
    similarity: str = "scaled_cosine"
    """``scaled_cosine``: times exp(logit_scale), as released; ``dot_product``: as the paper prints it."""
    group: str = "image_text_model"
    may_ask_few: ClassVar[bool] = True

    def open(self, prompt_of_row: Tensor) -> _MatchedRows:
        vectors = self.vectors[prompt_of_row.to(self.vectors.device)]
        refuse_nan(self.group, bool(vectors.isnan().any()))  # here, since perhaps no step asks
        return _MatchedRows(self, vectors)


class _MatchedRows:
    """Rows, each with the vector that its texts should match."""

    def __init__(self, guide: ImageGuide, vectors: Tensor) -> None:
        self.guide, self.vectors = guide, vectors

    def match(self, features: Tensor) -> Tensor:
        from magic_cli.decoding import scoring

        if self.guide.similarity == "dot_product":
            return scoring.dot_product(self.vectors, features)
        return scoring.scaled_cosine(self.vectors, features, self.guide.scorer.logit_scale)

    def score(self, features: Tensor, forbidden: Tensor | None) -> Tensor:
        from magic_cli.decoding import scoring

        return scoring.magic_score(self.match(features), forbidden)

    def select(self, rows: Tensor) -> None:
        self.vectors = self.vectors[rows]


@dataclass
class _OfAnother:
    """Base of guides that change another one."""

    guide: Guide

    @property
    def weight(self) -> float:
        return self.guide.weight

    @property
    def scorer(self) -> ImageTextScorer:
        return self.guide.scorer

    @property
    def group(self) -> str:
        return self.guide.group

    @property
    def may_ask_few(self) -> bool:
        return getattr(self.guide, "may_ask_few", False)


@dataclass
class ScaledGuide(_OfAnother):
    """Another guide, whose score counts in full for some prompts and less for others."""

    factors: Tensor
    """(B,) in [0, 1]."""

    def open(self, prompt_of_row: Tensor) -> _ScaledRows:
        return _ScaledRows(self.guide.open(prompt_of_row), self.factors[prompt_of_row.to(self.factors.device)])


class _ScaledRows:
    """Rows of another guide, each with its factor (R,)."""

    def __init__(self, rows: OpenGuide, factors: Tensor) -> None:
        self._rows, self._factors = rows, factors

    def match(self, features: Tensor) -> Tensor:
        return self._factors[:, None] * self._rows.match(features)

    def score(self, features: Tensor, forbidden: Tensor | None) -> Tensor:
        return self._factors[:, None] * self._rows.score(features, forbidden)

    def select(self, rows: Tensor) -> None:
        self._factors = self._factors[rows]
        self._rows.select(rows)


@dataclass
class WordsGuide(_OfAnother):
    """Another guide that also brings words: tokens of its texts are candidates beside the likeliest ones."""

    texts: Sequence[Sequence[str]]
    """Of each of B prompts; any number."""
    most: int
    """Tokens that may join the candidates of a step, at least 1."""
    floor: float
    """Least model confidence in one that joins, in (0, 1]."""

    def __post_init__(self) -> None:
        self._masks: dict[int, Tensor] = {}  # of each prompt; a text is tokenized once, however often its rows are opened

    def open(self, prompt_of_row: Tensor) -> _RowsWithWords:
        return _RowsWithWords(self, prompt_of_row)

    def mask(self, prompt: int, model: Vocabulary) -> Tensor:
        """(V,) bool: the tokens of a prompt's texts. Words count as they are written at the beginning and within a text."""
        import torch

        if prompt not in self._masks:
            mask = torch.zeros(model.vocab_size, dtype=torch.bool)
            for text in self.texts[prompt]:
                mask[[*model.encode(text), *model.encode(f" {text}")]] = True
            mask[list(model.special_ids)] = False
            self._masks[prompt] = mask
        return self._masks[prompt]


class _RowsWithWords:
    """Rows of another guide, each with the tokens that may join its candidates."""

    def __init__(self, guide: WordsGuide, prompt_of_row: Tensor) -> None:
        self.guide, self._prompts, self._rows = guide, prompt_of_row, guide.guide.open(prompt_of_row)

    def match(self, features: Tensor) -> Tensor:
        return self._rows.match(features)

    def score(self, features: Tensor, forbidden: Tensor | None) -> Tensor:
        return self._rows.score(features, forbidden)

    def select(self, rows: Tensor) -> None:
        self._prompts = self._prompts[rows.to(self._prompts.device)]
        self._rows.select(rows)

    def mask(self, model: Vocabulary) -> Tensor:
        """(R, V) bool."""
        import torch

        return torch.stack([self.guide.mask(prompt, model) for prompt in self._prompts.tolist()])


class Steering:
    """All guides of a batch, bound to its rows; each distinct scorer reads the texts once.

    Args:
        guides: The guides; those with weight 0 are left out.
        prompt_of_row: (R,) the prompt that each row belongs to.
    """

    def __init__(self, guides: Sequence[Guide], prompt_of_row: Tensor) -> None:
        self.guides = [guide for guide in guides if guide.weight > 0]
        self._rows = [guide.open(prompt_of_row) for guide in self.guides]
        self._num_rows = len(prompt_of_row)
        self._sessions: dict[int, TextSession] = {}
        """By scorer; created when there is something to encode."""

    def __bool__(self) -> bool:
        return bool(self.guides)

    @property
    def weight(self) -> float:
        """The sum of all guides' weights."""
        return sum(guide.weight for guide in self.guides)

    @property
    def may_ask_few(self) -> bool:
        """Whether steps may be decided before all candidates were asked about."""
        return all(getattr(guide, "may_ask_few", False) for guide in self.guides)

    def brought(self, model: Vocabulary) -> list[tuple[Tensor, int, float]]:
        """Of each guide that brings words: the tokens that may join the candidates, (R, V) bool, how many, and the least confidence."""
        found = [rows for rows in self._rows if isinstance(rows, _RowsWithWords)]
        return [(rows.mask(model), rows.guide.most, rows.guide.floor) for rows in found]

    def read(self, texts: list[list[str]]) -> tuple[Tensor, ...]:
        """Features (R, K, E) of up to K texts of each of R rows, for each guide. A row with fewer, but at least one, repeats its first."""
        width = max(map(len, texts))
        texts = [[*row, *row[:1] * (width - len(row))] for row in texts]  # what is repeated is encoded once
        features: dict[int, Tensor] = {}
        for guide in self.guides:
            key = id(guide.scorer)
            if key not in features:
                if key not in self._sessions:
                    self._sessions[key] = guide.scorer.open_texts(self._num_rows)
                features[key] = self._sessions[key].encode(texts)
        return tuple(features[id(guide.scorer)] for guide in self.guides)

    def score(self, features: Sequence[Tensor], forbidden: Tensor | None) -> tuple[Tensor, ...]:
        """f (R, K) of texts with these features, for each guide; NaN where a model gave NaN."""
        return tuple(rows.score(part, forbidden) for rows, part in zip(self._rows, features, strict=True))

    def match(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """How well texts with these features fit on their own, (R, K), for each guide."""
        return tuple(rows.match(part) for rows, part in zip(self._rows, features, strict=True))

    def total(self, scores: Sequence[Tensor]) -> Tensor:
        """The sum of ``beta_i f_i``, (R, K)."""
        first, *others = (guide.weight * f for guide, f in zip(self.guides, scores, strict=True))
        for other in others:
            first = first + other
        return first

    def faulty(self, scores: Sequence[Tensor]) -> dict[str, Tensor]:
        """Whether a model gave NaN, by the settings group of the model."""
        flags: dict[str, Tensor] = {}
        for guide, f in zip(self.guides, scores, strict=True):
            flag = f.isnan().any()
            flags[guide.group] = flags[guide.group] | flag if guide.group in flags else flag
        return flags

    def select(self, rows: Tensor) -> None:
        """Keep only ``rows`` (S,), in that order."""
        self._num_rows = len(rows)
        for bound in self._rows:
            bound.select(rows)
        for session in self._sessions.values():
            session.select(rows)
