"""What a decoding method works with: the step of R rows, the candidates for their next token, and the choice among them.

Shape letters: see ``protocols.py``; R rows, K candidates of each.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, compress, islice
from typing import TYPE_CHECKING

from magic_cli.decoding.protocols import LanguageModel, LanguageModelState
from magic_cli.decoding.text import until_end
from magic_cli.errors import refuse_nan

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from magic_cli.decoding.guides import Steering


@dataclass
class Candidates:
    """The candidates for the next token of each row, and what is known about them so far."""

    ids: Tensor
    """(R, K) token ids, likeliest first."""
    confidence: Tensor
    """(R, K) their probabilities: softmax over the whole vocabulary."""
    close: Tensor | None = None
    """(R,) bool: whether candidates are so nearly equal that rounding in float32 could decide which are among the K, or which
    is best; None: never."""
    forbidden: Tensor | None = None
    """(R, K) bool: candidates that may not come next; None: all may."""
    features: tuple[Tensor, ...] = ()
    """(R, K, E) features of the texts with each candidate, for each guide, NaN where a text was not read; empty: none was."""
    f: tuple[Tensor, ...] = ()
    """(R, K) how well these texts fit, for each guide, 0 where it cannot matter; empty: no guide was asked."""
    can_win: Tensor = field(init=False, repr=False)
    """(R, K) bool: whether a candidate can still have the best score before the look ahead; the look ahead sets it."""
    wanted: Tensor | None = None
    """(R, K) bool: whether the look ahead computed a candidate; None: all, or none."""
    penalty: Tensor | None = None
    """(R, K) degeneration penalties, NaN where none was computed; None: the penalty has no weight."""
    score: Tensor | None = None
    """(R, K) scores; NaN if the penalty is not known. None: nothing was scored."""

    @property
    def sole(self) -> Tensor:
        """(R, K) bool: the only candidate of a row that can win; the language model need not compute it."""
        from magic_cli.decoding.shortcuts import laziness

        return laziness.sole(self.can_win)


@dataclass
class Choice:
    """The next token of every row, and the candidates."""

    tokens: Tensor
    """(R,) token ids."""
    candidates: Candidates | None = None
    """The candidates; None: the choice was among all tokens."""
    parents: Tensor | None = None
    """(R,) the row that each row continues (beam search); None: every row continues itself."""
    finished: dict[int, list[int]] | None = None
    """Prompts that the method itself declares finished: {group of rows: generated tokens}. None: the loop decides."""

    @property
    def place(self) -> Tensor:
        """(R,) position of each token among its row's candidates."""
        if self.candidates is None:
            raise TypeError("a choice from all tokens has no place among candidates")
        return (self.candidates.ids == self.tokens[:, None]).int().argmax(dim=1)


@dataclass
class Step:
    """Everything a method may look at when it chooses the next token of R rows."""

    model: LanguageModel
    state: LanguageModelState
    logits: Tensor
    """(R, V) scores of the next token, after all rules; -inf: may not come next."""
    prompts: Sequence[Sequence[int]]
    """Tokens of the rows' prompts, without vectors."""
    generated: list[list[int]]
    """Tokens after the prompt, one list per row."""
    remaining: list[int]
    """How many tokens each row may still get, including this one; at least 1."""
    generators: list[Generator]
    ends: Callable[[int, int], bool]
    """``ends(row, token)``: whether the row's text ends with this token, because it is an end token or completes a stop
    text."""
    steering: Steering | None = None
    """The guides, bound to the rows; None: there are none."""
    lazy: bool = True
    """Whether candidates that can no longer win may be skipped."""
    is_last: Callable[[int, int], bool] | None = None
    """``is_last(row, token)``: whether no token follows this one; None: even a candidate without rivals is computed, for a
    trace."""
    traced: bool = False
    """Whether the guides are asked about all candidates, for a trace."""
    counts: Counter[str] | None = None
    """Receives ``steps_unasked``: choices that no guide could change."""

    def candidates(self, k: int) -> Candidates:
        """The ``k`` likeliest next tokens of each row, best first, and behind them those that guides bring."""
        from magic_cli.decoding import scoring

        ids, confidence, close = scoring.top_candidates(self.logits, k)
        forbidden = None
        if self.logits is not self.state.logits:  # a rule took part
            forbidden = self.logits.gather(1, ids) == -math.inf
        found = Candidates(ids, confidence, close, forbidden)
        for wanted, most, floor in self.steering.brought(self.model) if self.steering else ():
            found = self._joined(found, wanted, most=most, floor=floor)
        return found

    def _joined(self, found: Candidates, wanted: Tensor, *, most: int, floor: float) -> Candidates:
        """The candidates and those of the tokens ``wanted`` (R, V) that join them; where a row has fewer, the places are forbidden."""
        import torch

        from magic_cli.decoding import scoring

        wanted = wanted.to(self.logits.device)
        ids, confidence, close = scoring.joining_candidates(self.logits, found.ids, wanted, most=most, floor=floor)
        close = close if found.close is None else close | found.close
        if not ids.shape[1]:
            return Candidates(found.ids, found.confidence, close, found.forbidden)
        before = torch.zeros_like(found.ids, dtype=torch.bool) if found.forbidden is None else found.forbidden
        return Candidates(
            torch.cat([found.ids, ids], dim=1),
            torch.cat([found.confidence, confidence], dim=1),
            close,
            torch.cat([before, confidence == 0], dim=1),
        )

    @property
    def most_guidance(self) -> float:
        """The most that the guides can add to a score; the least is 0."""
        return self.steering.weight if self.steering else 0.0

    def guidance(self, found: Candidates, known: Tensor | None, *, window: int, include_prompt: bool) -> Tensor | None:
        """The weighted sum of all guides' scores, (R, K); None: there are no guides, or none was asked.

        Args:
            found: The candidates whose texts are read; features and scores are stored in it.
            known: (R, K) all other parts of the scores, so that guides need not be asked where they cannot change the choice; None: they are
                not known yet.
            window: How many of the last tokens of a text are read.
            include_prompt: Whether the prompt's words are part of it.
        """
        from magic_cli.decoding.shortcuts import asking

        if not self.steering:
            return None
        read = partial(self.read, found, window=window, include_prompt=include_prompt)
        if known is None or self.traced or not self.lazy or not self.steering.may_ask_few:
            found.f = self.steering.score(read(None), found.forbidden)
        else:
            found.f, unrivalled = asking.ask(known, found.forbidden, self.steering, read)
            if self.counts is not None:
                self.counts["steps_unasked"] += unrivalled
        return self.steering.total(found.f) if found.f else None

    def read(self, found: Candidates, which: Tensor | None, *, window: int, include_prompt: bool) -> tuple[Tensor, ...]:
        """Read the texts of some candidates, and store their features.

        Args:
            found: The candidates.
            which: (R, K) bool, at least one in each row; None: all.
            window: How many of the last tokens of a text are read.
            include_prompt: Whether the prompt's words are part of it.

        Returns:
            ``found.features``.
        """
        assert self.steering is not None  # who calls this has guides to read for
        ids = found.ids.tolist()
        if which is not None:
            ids = [list(compress(row, flags)) for row, flags in zip(ids, which.tolist(), strict=True)]
        sequences = candidate_sequences(self, ids, window=window, include_prompt=include_prompt)
        texts = iter(self.model.decode(sequences))
        features = self.steering.read([list(islice(texts, len(row))) for row in ids])
        found.features = features if which is None else _placed(features, which, found.features)
        return found.features

    def match(
        self, parents: Sequence[Sequence[int]], tokens: Sequence[Sequence[int]], *, window: int, include_prompt: bool
    ) -> list[list[float]] | None:
        """The weighted sum of how well texts of different rows fit all guides; None: there are no guides.

        Args:
            parents: G lists of C rows that the texts continue.
            tokens: The next token of each.
            window: How many of the last tokens of a text are read.
            include_prompt: Whether the prompt's words are part of it.

        Raises:
            MagicError: A model computes NaN.
        """
        if not self.steering:
            return None
        of_row: list[dict[int, int]] = [{} for _ in self.prompts]  # each row's tokens, and their places
        for row, token in zip(chain.from_iterable(parents), chain.from_iterable(tokens), strict=True):
            of_row[row].setdefault(token, len(of_row[row]))
        sequences = candidate_sequences(self, list(map(list, of_row)), window=window, include_prompt=include_prompt)
        texts = iter(self.model.decode(sequences))
        rows = [list(islice(texts, len(places))) for places in of_row]
        found = self.steering.match(self.steering.read([row or [""] for row in rows]))
        for group, is_faulty in self.steering.faulty(found).items():
            refuse_nan(group, bool(is_faulty))
        match = self.steering.total(found).tolist()
        return [
            [match[row][of_row[row][token]] for row, token in zip(*pair, strict=True)]
            for pair in zip(parents, tokens, strict=True)
        ]

    def look_ahead(self, found: Candidates, known: Tensor, *, alpha: float, others: float = 0.0) -> Tensor | None:
        """Degeneration penalties (R, K), NaN where they cannot change the choice; None if the penalty has no weight.

        Args:
            found: The candidates; the result is stored in it.
            known: (R, K) their scores without the penalty.
            alpha: Weight of the penalty, in [0, 1].
            others: Width of the range of what else is not known yet.
        """
        from magic_cli.decoding.shortcuts import laziness

        found.can_win = laziness.can_win(known, found.forbidden, unknown=2 * alpha + others, lazy=self.lazy)
        if alpha == 0:
            return None
        found.penalty = self._penalty(found)
        return found.penalty.masked_fill(~found.can_win, math.nan)

    def _penalty(self, found: Candidates) -> Tensor:
        from magic_cli.decoding import scoring
        from magic_cli.decoding.shortcuts import laziness

        found.wanted = laziness.wanted(found.ids, found.can_win, self.is_last) if self.lazy else None
        hidden = self.peek(found.ids, found.wanted)
        return scoring.degeneration_penalty(hidden, self.state.hidden, self.state.valid)

    def peek(self, ids: Tensor, wanted: Tensor | None = None) -> Tensor:
        """Hidden states (R, K, H) of the tokens ``ids`` (R, K), or only of the ``wanted`` ones (R, K); NaN for the rest."""
        return self.model.peek(self.state, ids, wanted)

    def best(self, found: Candidates, score: Tensor) -> Choice:
        """Choose the candidate with the best score (R, K) in each row; if two are equal, the likelier one."""
        from magic_cli.decoding import scoring

        if found.forbidden is not None:
            score = score.masked_fill(found.forbidden, math.nan)
        known = score.masked_fill(found.sole & score.isnan(), 0.0).nan_to_num(nan=-math.inf)
        near = scoring.is_close(known, beta=self.most_guidance)
        found.score, found.close = score, near if found.close is None else near | found.close
        return Choice(found.ids.gather(1, scoring.best_candidate(known)[:, None]).squeeze(1), found)

    def uniform(self) -> Tensor:
        """(R,) one uniform number in [0, 1) from each row's own generator."""
        import torch

        return torch.stack([torch.rand((), generator=g, dtype=torch.float64) for g in self.generators])


def _placed(features: tuple[Tensor, ...], which: Tensor, before: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Features (R, S, E) of the candidates ``which`` (R, K) among those of all (R, K, E); others are as ``before``, or NaN."""
    import torch

    num_rows, width = len(which), features[0].shape[1]
    place = (which.cumsum(dim=1) - 1).clamp(min=0)  # (R, K)
    place += width * torch.arange(num_rows, device=which.device)[:, None]
    placed = [part.flatten(0, 1).index_select(0, place.flatten()).unflatten(0, which.shape) for part in features]
    others = before or [part.new_full((), math.nan) for part in placed]
    return tuple(part.where(which[:, :, None], other) for part, other in zip(placed, others, strict=True))


def candidate_sequences(step: Step, ids: Sequence[Sequence[int]], *, window: int, include_prompt: bool) -> list[list[int]]:
    """Token ids whose text the image-text model scores: (text so far + candidate), R * K lists.

    Only the last ``window`` tokens are kept, and a sequence ends before its first end-of-text, as CLIP would pool
    there. With ``include_prompt`` the prompt's words come first; its special tokens are no words.
    """
    model, sequences = step.model, []
    for prompt, generated, candidates in zip(step.prompts, step.generated, ids, strict=True):
        words = [i for i in prompt if i not in model.special_ids] if include_prompt else []
        text = (words + generated)[-(window - 1) :] if window > 1 else []
        whole = until_end(text, model.end_ids)
        if len(whole) < len(text):
            sequences += [whole] * len(candidates)
        else:
            sequences += [text if i in model.end_ids else [*text, i] for i in candidates]
    return sequences
