"""The lines of a trace."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from magic_cli.decoding.request import OnStep
from magic_cli.decoding.step import Choice

if TYPE_CHECKING:
    from torch import Tensor

    from magic_cli.decoding.batch import Row


def as_lists(choice: Choice) -> list[dict[str, Any]]:
    """For every row its candidates and their scores; None: a term with weight 0, or a number that was not computed.

    Tokens that a rule forbids are not candidates.
    """
    found = choice.candidates
    if found is None:
        return [{} for _ in range(len(choice.tokens))]
    terms: dict[str, Tensor | None] = {"token_ids": found.ids, "p": found.confidence}
    if found.score is not None:
        penalty = None if found.penalty is None else found.penalty.masked_fill(~found.can_win, math.nan)
        terms |= {"penalty": penalty, "f": found.f[0] if found.f else None, "score": found.score}
        terms |= {f"f_{number}": f for number, f in enumerate(found.f[1:], start=2)}
    columns = {name: None if term is None else _without_nan(term.tolist()) for name, term in terms.items()}
    rows = [{name: None if column is None else column[i] for name, column in columns.items()} for i in range(len(choice.tokens))]
    if found.forbidden is None:
        return rows
    return [
        {
            name: values and [value for value, is_out in zip(values, out, strict=True) if not is_out]
            for name, values in row.items()
        }
        for row, out in zip(rows, found.forbidden.tolist(), strict=True)
    ]


def report(
    on_step: OnStep, rows: Sequence[Row], choice: Choice, tokens: Sequence[int], details: Sequence[dict[str, Any]]
) -> None:
    """Call the listener with the details of a step, one dictionary per row."""
    parents = None if choice.parents is None else choice.parents.tolist()
    for i, (row, token, of_row) in enumerate(zip(rows, tokens, details, strict=True)):
        beam = {} if parents is None else {"parent": parents[i], "row": i}
        on_step(row.prompt, len(row.generated), {"choice": token, **beam, **of_row})


def _without_nan(rows: list[list[float]]) -> list[list[float | None]]:
    return [[None if value != value else value for value in row] for row in rows]
