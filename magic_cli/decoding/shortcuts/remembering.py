"""Rows go on as far as their steps are remembered, before anything is computed. The method's own ``step`` runs on the remembered
numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from magic_cli.decoding.batch import Row, ends, is_done, remaining, steering
from magic_cli.decoding.method import DecodingMethod
from magic_cli.decoding.request import Request, Written
from magic_cli.decoding.shortcuts.deciding import read
from magic_cli.decoding.shortcuts.memory import KnownStep, StepMemory
from magic_cli.decoding.step import Candidates, Step
from magic_cli.decoding.tracing import as_lists, report

_COMPUTED = ("state", "logits", "generators", "peek")
"""What only the language model knows; and the row's random generator, which would draw twice if the step were taken again."""


class NotRemembered(Exception):
    """The choice needs more than is remembered."""


@dataclass
class RememberedStep(Step):
    """A step of one row that is remembered, except for what depends on the guides.

    A method that asks for anything in ``_COMPUTED`` gets ``NotRemembered``, and the step is then computed.
    """

    evidence: KnownStep = field(kw_only=True)

    def __getattribute__(self, name: str) -> Any:
        if name in _COMPUTED:
            raise NotRemembered
        return super().__getattribute__(name)

    def candidates(self, k: int) -> Candidates:
        return self.evidence.as_candidates()

    def read(self, found: Candidates, which: Tensor | None, **_: Any) -> tuple[Tensor, ...]:
        wanted = torch.ones_like(found.ids, dtype=torch.bool) if which is None else which
        if not found.features or (found.features[0].isnan().any(dim=-1) & wanted).any():
            raise NotRemembered
        return found.features

    def _penalty(self, found: Candidates) -> Tensor:
        if found.penalty is None or (found.penalty.isnan() & found.can_win & ~found.sole).any():
            raise NotRemembered
        return found.penalty


def go_on_from_memory(method: DecodingMethod, request: Request, rows: Sequence[Row], results: dict[int, Written]) -> list[Row]:
    """Let rows grow as far as their steps are remembered. Returns the rows that are not finished yet; the finished ones are in
    the results."""
    memory = request.options.memory
    if memory is None:
        return list(rows)
    return [row for row in rows if not _follow(method, request, memory, row, results)]


def _follow(method: DecodingMethod, request: Request, memory: StepMemory, row: Row, results: dict[int, Written]) -> bool:
    options, prompt, bound = request.options, request.prompts[row.prompt], steering(request, [row])
    while not prompt.vectors and (evidence := memory.get(prompt.ids, row.generated)) is not None:
        step = RememberedStep(
            model=request.model,
            state=None,  # type: ignore[arg-type]  # whoever asks for it, or for the logits, has the step computed
            logits=None,  # type: ignore[arg-type]  # as above
            prompts=[prompt.ids],
            generated=[row.generated],
            remaining=[remaining(method, request, row)],
            generators=[],
            ends=ends(request, [row]),
            steering=bound,
            lazy=options.lazy,
            traced=options.on_step is not None,
            counts=options.counts,
            evidence=evidence,
        )
        try:
            choice = method.begin(1).step(step)
        except NotRemembered:
            break
        tokens, close = read(choice, bound, None)
        if close and not evidence.alone and options.settle_ties:
            break
        memory.met += 1
        if options.on_step is not None:
            report(options.on_step, [row], choice, tokens, as_lists(choice))
        row.generated = [*row.generated, *tokens]
        if is_done(method, request, row):
            results[row.prompt] = Written(row.generated)
            return True
    return False
