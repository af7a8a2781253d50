"""The rows that are written side by side: their texts, the language model's state, and the guides bound to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from magic_cli.decoding.guides import Steering
from magic_cli.decoding.method import DecodingMethod
from magic_cli.decoding.prompts import Prompt
from magic_cli.decoding.protocols import LanguageModelState
from magic_cli.decoding.request import Request, Written
from magic_cli.decoding.rules import apply_rules
from magic_cli.decoding.step import Choice, Step


@dataclass
class Row:
    """One unfinished text; ``prompt`` is the index of its prompt."""

    prompt: int
    generator: torch.Generator
    generated: list[int] = field(default_factory=list)

    def and_then(self, token: int) -> Row:
        """The same row with one more token."""
        return Row(self.prompt, self.generator, [*self.generated, token])


def open_rows(method: DecodingMethod, request: Request) -> list[Row]:
    """The empty rows of every prompt."""
    seeds = [request.seed(index) for index in range(len(request.prompts))]
    return [
        Row(index, torch.Generator().manual_seed(seed)) for index, seed in enumerate(seeds) for _ in range(method.rows_per_prompt)
    ]


class Batch:
    """Rows that grow together. ``alone`` makes a batch of one row, whose numbers do not depend on other rows.

    Args:
        method: The decoding method.
        request: The request.
        rows: The rows.
        lazy: Whether candidates that can no longer win may be skipped.
    """

    def __init__(self, method: DecodingMethod, request: Request, rows: list[Row], *, lazy: bool) -> None:
        self.method, self.request, self.rows, self._lazy = method, request, rows, lazy
        self.steering = steering(request, rows)
        self.state: LanguageModelState
        if rows:
            self.state = self._read()

    @classmethod
    def of(cls, method: DecodingMethod, request: Request, rows: list[Row]) -> Batch:
        """A batch with the options of the request."""
        return cls(method, request, rows, lazy=request.options.lazy)

    @classmethod
    def alone(cls, method: DecodingMethod, request: Request, row: Row) -> Batch:
        """A batch of one row, without shortcuts."""
        return cls(method, request, [row], lazy=False)

    def step(self) -> Step:
        """The step that chooses the next tokens."""
        prompts, generated = [self._prompt(row).words for row in self.rows], [row.generated for row in self.rows]
        options = self.request.options
        return Step(
            model=self.request.model,
            state=self.state,
            logits=apply_rules(options.rules, self.state.logits, prompts, generated),
            prompts=prompts,
            generated=generated,
            remaining=[remaining(self.method, self.request, row) for row in self.rows],
            generators=[row.generator for row in self.rows],
            ends=ends(self.request, self.rows),
            steering=self.steering,
            lazy=self._lazy,
            is_last=None
            if options.on_step is not None
            else lambda row, token: is_done(self.method, self.request, self.rows[row].and_then(token)),
            traced=options.on_step is not None,
            counts=options.counts,
        )

    def append(self, choice: Choice, tokens: Sequence[int]) -> None:
        """Add the next token of every row."""
        parents = range(len(self.rows)) if choice.parents is None else choice.parents.tolist()
        self.rows = [
            Row(row.prompt, row.generator, [*self.rows[parent].generated, token])
            for row, parent, token in zip(self.rows, parents, tokens, strict=True)
        ]

    def retire(self, choice: Choice, results: dict[int, Written], *, reread: bool) -> None:
        """Move the finished texts into the results, and go on with the other rows.

        Args:
            choice: The choice of this step.
            results: Receives the finished texts, by the index of the prompt.
            reread: Whether tokens other than the chosen ones were added, so that the texts must be read again.
        """
        keep = self._finish(choice, results)
        num_rows, self.rows = len(self.rows), [self.rows[i] for i in keep]
        if not keep:
            return
        if self.steering and (choice.parents is not None or len(keep) < num_rows):
            kept = torch.tensor(keep, device=self.state.logits.device)
            self.steering.select(kept if choice.parents is None else choice.parents[kept])
        self.state = self._read() if reread else self._advance(choice, keep, num_rows)

    def _finish(self, choice: Choice, results: dict[int, Written]) -> list[int]:
        """Indices of the rows that go on."""
        if choice.finished is not None:
            width = self.method.rows_per_prompt
            for group, generated in choice.finished.items():
                results[self.rows[group * width].prompt] = Written(generated)
            return [i for i in range(len(self.rows)) if i // width not in choice.finished]
        keep = []
        for i, row in enumerate(self.rows):
            if is_done(self.method, self.request, row):
                # the state ends before the last token: its last rows are the states that the tokens were chosen from
                hidden = self.state.hidden[i, -len(row.generated) :].clone() if self.request.options.with_hidden else None
                results[row.prompt] = Written(row.generated, hidden)
            else:
                keep.append(i)
        return keep

    def _advance(self, choice: Choice, keep: list[int], num_rows: int) -> LanguageModelState:
        """Append the chosen tokens and drop finished rows, in the cheaper order."""
        model, state = self.request.model, self.state
        # a list that goes to a GPU waits for all its work, so it goes only if rows have ended
        chosen = None if len(keep) == num_rows else torch.tensor(keep, device=choice.tokens.device)
        if (
            choice.candidates is not None and choice.candidates.penalty is not None
        ):  # the tokens are already computed as candidates
            model.commit(state, choice.place)
            return state if chosen is None else model.select(state, chosen)
        rows = chosen if choice.parents is None else choice.parents if chosen is None else choice.parents[chosen]
        if rows is not None:
            state = model.select(state, rows)
        tokens = choice.tokens if chosen is None else choice.tokens[chosen]
        model.peek(state, tokens[:, None])
        model.commit(state, torch.zeros_like(tokens))
        return state

    def _read(self) -> LanguageModelState:
        """The language model's state after all tokens of the rows; equal texts are read once."""
        keys = [
            ((row.prompt if self._prompt(row).vectors else tuple(self._prompt(row).ids)), tuple(row.generated))
            for row in self.rows
        ]
        first = {key: place for place, key in reversed(list(enumerate(keys)))}
        distinct = sorted(first.values())
        state = self.request.model.prefill([self._text(self.rows[place]) for place in distinct])
        if len(distinct) == len(self.rows):
            return state
        place_of = {keys[place]: number for number, place in enumerate(distinct)}
        return self.request.model.select(state, torch.tensor([place_of[key] for key in keys], device=state.logits.device))

    def _prompt(self, row: Row) -> Prompt:
        return self.request.prompts[row.prompt]

    def _text(self, row: Row) -> Prompt:
        prompt = self._prompt(row)
        return Prompt([*prompt.ids, *row.generated], prompt.vectors)


def steering(request: Request, rows: Sequence[Row]) -> Steering | None:
    """The guides of the request, bound to rows; None: there are none."""
    if not request.guides or not rows:
        return None
    return Steering(request.guides, torch.tensor([row.prompt for row in rows]))


def remaining(method: DecodingMethod, request: Request, row: Row) -> int:
    """Tokens that the row may still get."""
    return request.room(method.decoding_len, row.prompt) - len(row.generated)


def is_done(method: DecodingMethod, request: Request, row: Row) -> bool:
    """Whether the row's text has ended."""
    return remaining(method, request, row) == 0 or request.text_format.is_settled(row.generated)


def ends(request: Request, rows: Sequence[Row]) -> Callable[[int, int], bool]:
    """The function ``Step.ends`` for these rows."""
    return lambda row, token: request.text_format.has_ended([*rows[row].generated, token])
