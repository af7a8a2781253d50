"""From a choice to tokens on the host: refuses NaN, remembers steps, and computes near ties again for one row alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from magic_cli.decoding.batch import Batch
from magic_cli.decoding.shortcuts.memory import KnownStep, StepMemory
from magic_cli.decoding.step import Candidates, Choice, Step
from magic_cli.decoding.tracing import as_lists, report
from magic_cli.errors import refuse_nan

if TYPE_CHECKING:
    from magic_cli.decoding.guides import Steering
    from magic_cli.decoding.protocols import LanguageModelState


def decide(batch: Batch, step: Step, choice: Choice) -> tuple[list[int], bool]:
    """The next token of every row, and whether any of them differs from the first choice.

    Raises:
        MagicError: A model computes NaN.
    """
    options = batch.request.options
    tokens, close = read(choice, step.steering, step.state)
    if options.memory is not None:
        _remember(options.memory, batch, choice)
    details, own = None if options.on_step is None else as_lists(choice), list(tokens)
    for i in close if options.settle_ties else ():
        alone = _decide_alone(batch, i)
        [tokens[i]] = alone.tokens.tolist()
        if details is not None:
            details[i] = as_lists(alone)[0]
    if options.on_step is not None and details is not None:
        report(options.on_step, batch.rows, choice, tokens, details)
    return tokens, tokens != own


def read(choice: Choice, steering: Steering | None, state: LanguageModelState | None) -> tuple[list[int], list[int]]:
    """The chosen tokens on the host, and the rows whose choice is close. One transfer brings both, and whether a model gave NaN.

    Args:
        choice: The choice.
        steering: The guides.
        state: The language model's state behind the choice; None: the step was remembered.

    Raises:
        MagicError: A model gave NaN.
    """
    found, num_rows = choice.candidates, len(choice.tokens)
    close = torch.zeros_like(choice.tokens) if found is None or found.close is None else found.close
    faulty = _faulty(found, steering, state)
    numbers = torch.cat(
        [choice.tokens, close.to(choice.tokens), *(flag.to(choice.tokens)[None] for flag in faulty.values())]
    ).tolist()
    for model, is_faulty in zip(faulty, numbers[2 * num_rows :], strict=True):
        refuse_nan(model, bool(is_faulty))
    return numbers[:num_rows], [row for row, flag in enumerate(numbers[num_rows : 2 * num_rows]) if flag]


def _faulty(found: Candidates | None, steering: Steering | None, state: LanguageModelState | None) -> dict[str, Tensor]:
    """Whether a model gave NaN in a step, () bool each, by the settings group of the model."""
    flags = {}
    if state is not None:
        # a tenth of the time of looking at each; logits are float32, in which their sum is finite or, by rules, -inf
        flag = state.logits.sum(dtype=torch.float32).isnan()
        if found is not None and found.penalty is not None:
            unknown = found.penalty.isnan()
            flag = flag | (unknown if found.wanted is None else unknown & found.wanted).any()
        flags["language_model"] = flag
    if found is not None and found.f and steering is not None:
        flags |= steering.faulty(found.f)
    return flags


def _remember(memory: StepMemory, batch: Batch, choice: Choice, *, alone: bool = False) -> None:
    if choice.candidates is None or choice.candidates.score is None:
        return  # the choice depends on more than the text so far
    evidence = KnownStep.of(choice.candidates)
    for i, row in enumerate(batch.rows):
        prompt = batch.request.prompts[row.prompt]
        if not prompt.vectors:  # vectors stand there, which token ids do not tell apart
            memory.put(prompt.ids, row.generated, evidence.row(i, alone=alone))


def _decide_alone(batch: Batch, index: int) -> Choice:
    """The choice for one row computed alone, without shortcuts."""
    alone = Batch.alone(batch.method, batch.request, batch.rows[index])
    step = alone.step()
    choice = batch.method.begin(1).step(step)
    read(choice, step.steering, step.state)
    if batch.request.options.memory is not None:
        _remember(batch.request.options.memory, alone, choice, alone=True)
    return choice
