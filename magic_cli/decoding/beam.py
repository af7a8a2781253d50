"""Beam search, with the rules of Hugging Face's ``generate(num_beams=...)`` (early_stopping off)."""

from __future__ import annotations

from dataclasses import dataclass

from magic_cli.decoding.method import MOST_BEAMS, DecodingMethod, require
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

    def __post_init__(self) -> None:
        super().__post_init__()
        require("num_beams", self.num_beams, at_least=1, limit=MOST_BEAMS)
        require("length_penalty", self.length_penalty, at_least=-10, at_most=10)

    @property
    def rows_per_prompt(self) -> int:
        return self.num_beams

    def begin(self, num_prompts: int) -> _Beams:
        return _Beams(self, num_prompts)


class _Beams:
    """The memory of one batch: running scores and finished texts of every prompt."""

    def __init__(self, method: BeamSearch, num_prompts: int) -> None:
        self.method = method
        # all beams of a prompt start equal, so only the first may be continued at first
        self.scores = [[0.0] + [_NEVER] * (method.num_beams - 1) for _ in range(num_prompts)]
        self.finished: list[list[tuple[float, list[int]]]] = [[] for _ in range(num_prompts)]

    def step(self, step: Step) -> Choice:
        import torch

        width, logits = self.method.num_beams, step.logits
        num_groups, vocab_size = len(self.scores), logits.shape[-1]
        totals = logits.log_softmax(dim=-1) + torch.tensor(self.scores, device=logits.device).view(-1, 1)
        # so many that, all end tokens apart, as many texts as there are beams can go on
        wanted = min((1 + len(step.model.end_ids)) * width, width * vocab_size)
        best = totals.view(num_groups, -1).topk(wanted, dim=-1)  # (R, V) -> (G, wanted)
        tokens: list[int] = []
        parents: list[int] = []
        done: dict[int, list[int]] = {}
        for group in range(num_groups):
            ranked = [
                (score, group * width + place // vocab_size, place % vocab_size)
                for score, place in zip(best.values[group].tolist(), best.indices[group].tolist(), strict=True)
            ]
            running, result = self._advance(group, ranked, step)
            self.scores[group] = [score for score, _, _ in running]
            parents += [parent for _, parent, _ in running]
            tokens += [token for _, _, token in running]
            if result is not None:
                done[group] = result
        for group in sorted(done, reverse=True):  # the loop drops these prompts' rows
            del self.scores[group], self.finished[group]
        as_tensor = lambda values: torch.tensor(values, device=logits.device)
        return Choice(tokens=as_tensor(tokens), parents=as_tensor(parents), finished=done)

    def _advance(
        self, group: int, ranked: list[tuple[float, int, int]], step: Step
    ) -> tuple[list[tuple[float, int, int]], list[int] | None]:
        """One prompt's step: its new running beams, and its best text if it is done (else None)."""
        width, first = self.method.num_beams, group * self.method.num_beams
        length = len(step.generated[first]) + 1
        last_step = step.remaining[first] == 1
        running: list[tuple[float, int, int]] = []
        ended: list[tuple[float, int, int]] = []
        finished = self.finished[group]
        for rank, (score, parent, token) in enumerate(ranked):
            if rank >= width and len(running) == width:
                break
            if last_step or step.ends(parent, token):
                ended.append((score + _NEVER, parent, token))
                if rank < width:  # a worse text than the beam holds may not win by ending early
                    finished.append((score / length**self.method.length_penalty, [*step.generated[parent], token]))
            elif len(running) < width:
                running.append((score, parent, token))
        running += ended[
            : width - len(running)
        ]  # where stop texts end more than those that were looked at, as rows that cannot win
        finished.sort(key=lambda entry: -entry[0])
        del finished[width:]
        if not last_step and len(finished) == width:
            last_step = running[0][0] / length**self.method.length_penalty <= finished[-1][0]
        if last_step:
            return ranked[:width], finished[0][1]
        return running, None
