"""Beam search, with the rules of Hugging Face's ``generate(num_beams=...)`` (early_stopping off)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from magic_cli.decoding.method import MOST_BEAMS, DecodingMethod, require
from magic_cli.decoding.protocols import Vocabulary
from magic_cli.decoding.step import Choice, Step

_NEVER = -1e9  # score of a beam that must not be continued


@dataclass
class BeamSearch(DecodingMethod):
    """Keep the ``num_beams`` likeliest texts; return the best by length-averaged log probability.

    Attributes:
        num_beams: Beam width, 1 to 1000.
        length_penalty: A finished text scores log p / length ** length_penalty; -10 to 10.
    """

    num_beams: int = 10
    length_penalty: float = 1.0

    prefers_ends: ClassVar[bool] = False
    """Whether any text that ends by itself is better than one that is cut off."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require("num_beams", self.num_beams, at_least=1, limit=MOST_BEAMS)
        require("length_penalty", self.length_penalty, at_least=-10, at_most=10)

    @property
    def rows_per_prompt(self) -> int:
        return self.num_beams

    def begin(self, num_prompts: int) -> _Beams:
        return _Beams(self, num_prompts)

    def continuations(self, model: Vocabulary) -> int:
        """How many texts of a prompt a step ranks. Even if end tokens come first, enough texts for all beams are left."""
        return (1 + len(model.end_ids)) * self.num_beams

    def match(self, step: Step, parents: Sequence[Sequence[int]], tokens: Sequence[Sequence[int]]) -> list[list[float]] | None:
        """The numbers to add to the averaged log probabilities of G x C texts, each a row and its next token; None: nothing."""
        return None


class _Text(NamedTuple):
    """A text that may go on or end."""

    worth: float
    """The value that ranks texts."""
    log_probability: float
    parent: int
    """The row that it continues."""
    token: int


class _Finished(NamedTuple):
    worth: float
    ids: list[int]
    has_ended: bool
    """False: it was cut off."""


class _Beams:
    """The memory of one batch: running scores and finished texts of every prompt."""

    def __init__(self, method: BeamSearch, num_prompts: int) -> None:
        self.method = method
        # all beams of a prompt start equal, so at first only one may be continued
        self.scores = [[0.0] + [_NEVER] * (method.num_beams - 1) for _ in range(num_prompts)]
        self.finished: list[list[_Finished]] = [[] for _ in range(num_prompts)]

    def step(self, step: Step) -> Choice:
        import torch

        logits = step.logits
        tokens: list[int] = []
        parents: list[int] = []
        done: dict[int, list[int]] = {}
        for group, ranked in enumerate(self._ranked(step)):
            running, result = self._advance(group, ranked, step)
            self.scores[group] = [text.log_probability for text in running]
            parents += [text.parent for text in running]
            tokens += [text.token for text in running]
            if result is not None:
                done[group] = result
        for group in sorted(done, reverse=True):  # the loop drops these prompts' rows
            del self.scores[group], self.finished[group]
        as_tensor = lambda values: torch.tensor(values, device=logits.device)
        return Choice(tokens=as_tensor(tokens), parents=as_tensor(parents), finished=done)

    def _ranked(self, step: Step) -> list[list[_Text]]:
        """The likeliest texts of every prompt, best first."""
        import torch

        method, logits = self.method, step.logits
        num_groups, vocab_size = len(self.scores), logits.shape[-1]
        totals = logits.log_softmax(dim=-1) + torch.tensor(self.scores, device=logits.device).view(-1, 1)
        wanted = min(method.continuations(step.model), method.num_beams * vocab_size)
        best = totals.view(num_groups, -1).topk(wanted, dim=-1)  # (R, V) -> (G, wanted)
        scores, places = best.values.tolist(), best.indices.tolist()
        parents = [[group * method.num_beams + place // vocab_size for place in row] for group, row in enumerate(places)]
        tokens = [[place % vocab_size for place in row] for row in places]
        matches = method.match(step, parents, tokens) or [[0.0] * wanted] * num_groups
        ranked = []
        for group, row in enumerate(zip(scores, parents, tokens, matches, strict=True)):
            length = len(step.generated[group * method.num_beams]) + 1
            texts = [
                _Text(score / length**method.length_penalty + match, score, parent, token)
                for score, parent, token, match in zip(*row, strict=True)
            ]
            ranked.append(sorted(texts, key=lambda text: -text.worth))
        return ranked

    def _advance(self, group: int, ranked: list[_Text], step: Step) -> tuple[list[_Text], list[int] | None]:
        """One step of a prompt: its new running beams, and its best text if it is done (else None)."""
        width, first = self.method.num_beams, group * self.method.num_beams
        last_step = step.remaining[first] == 1
        running: list[_Text] = []
        ended: list[_Text] = []
        finished = self.finished[group]
        for rank, text in enumerate(ranked):
            if rank >= width and len(running) == width:
                break
            has_ended = step.ends(text.parent, text.token)
            if last_step or has_ended:
                ended.append(text._replace(log_probability=text.log_probability + _NEVER))
                if rank < width:  # a worse text than the beam holds may not win by ending early
                    finished.append(_Finished(text.worth, [*step.generated[text.parent], text.token], has_ended))
            elif len(running) < width:
                running.append(text)
        running += ended[
            : width - len(running)
        ]  # where stop texts end more than those that were looked at, as rows that cannot win
        finished.sort(key=lambda one: (self.method.prefers_ends and not one.has_ended, -one.worth))
        del finished[width:]
        if not last_step and len(finished) == width:
            last_step = running[0].worth <= finished[-1].worth
        if last_step:
            return ranked[:width], finished[0].ids
        return running, None
