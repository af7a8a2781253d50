"""The one decoding loop: captions and stories, every method, any batch size; and the one door to methods with their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch

from magic_cli.decoding import scoring
from magic_cli.decoding.method import Choice, DecodingMethod, Guidance, OnStep, OwnLoop, Step, Task, refuse_nan
from magic_cli.decoding.step_memory import StepMemory
from magic_cli.errors import SettingsError
from magic_cli.protocols import LanguageModel, LanguageModelState, TextSession


@dataclass
class _Row:
    """One sequence in the making; ``prompt`` is the index of the prompt that it belongs to."""

    prompt: int
    generator: torch.Generator
    generated: list[int] = field(default_factory=list)


@torch.inference_mode()
def generate(
    model: LanguageModel,
    method: DecodingMethod,
    prompts: Sequence[Sequence[int]],
    *,
    guidance: Guidance | None = None,
    is_settled: Callable[[list[int]], bool] = lambda generated: False,
    seeds: Sequence[int] | None = None,
    on_step: OnStep | None = None,
    lazy: bool = True,
    memory: StepMemory | None = None,
    settle_ties: bool = True,
) -> list[list[int]]:
    """Continue every prompt.

    Args:
        model: The language model that writes.
        method: Decoding method; ``method.decoding_len`` counts the prompt.
        prompts: B token id lists, each at least one token long; lengths may differ.
        guidance: An image for every prompt, for methods that look at images.
        is_settled: Whether a row's generated tokens already decide its text, so that it may stop.
        seeds: B seeds for sampled methods (0 unless given). A row draws from its own generator, so neither batching nor order
            changes what it draws.
        on_step: Called as ``on_step(prompt index, step index, details)`` after each choice, for traces; what was not
            evaluated is None.
        lazy: Look only at candidates that can still win; gives the same tokens.
        memory: Steps of earlier calls with the same method and models, which are not computed again; takes up this call's.
        settle_ties: Compute a choice that rounding may decide once more, for its row alone: whatever the batch, ``lazy`` and
            ``memory``, the same tokens come out of MAGIC, contrastive and greedy search, as long as rounding stays within the margins
            of ``scoring.py``. Made for float32: coarser numbers are full of ties.

    Returns:
        B lists of generated token ids, prompt excluded.

    Raises:
        SettingsError: The method needs an image and has none, k exceeds the vocabulary, or a prompt fills decoding_len.
        MagicError: A model computes NaN, as large ones may in float16.
    """
    if method.needs_image and guidance is None:
        raise SettingsError(f"decoding: {type(method).__name__} looks at an image, but none was given")
    method.check(model, prompts)
    seeds = list(seeds) if seeds else [0] * len(prompts)
    prompts = [list(prompt) for prompt in prompts]
    task = Task(model, prompts, guidance, is_settled, seeds, on_step, lazy, memory, settle_ties)
    return method.write(task) if isinstance(method, OwnLoop) else _write_by_steps(method, task)


def _write_by_steps(method: DecodingMethod, task: Task) -> list[list[int]]:
    """The common loop: every step asks the method for the next token of all rows."""
    width = method.rows_per_prompt
    rows = [_Row(i, _generator(task.seeds[i])) for i in range(len(task.prompts)) for _ in range(width)]
    results: list[list[int]] = [[] for _ in task.prompts]
    if task.memory is not None:
        rows = [row for row in rows if not _follow_memory(method, task, row, results)]
    if not rows:
        return results
    search = method.begin(len(task.prompts))
    state = _read_texts(task, rows)
    matcher = _matcher(method, task, rows)
    while rows:
        step = _step(method, task, rows, state, matcher, lazy=task.lazy)
        choice = search.step(step)
        tokens, close = _read(choice, _faulty(state, matcher, choice))
        if task.memory is not None and choice.evidence is not None:
            for i, row in enumerate(rows):
                task.memory.put(task.prompts[row.prompt], row.generated, choice.evidence.row(i))
        overruled = False
        for i in close if task.settle_ties else ():
            before = tokens[i]
            tokens[i] = _decide_alone(method, task, rows[i], choice, i)
            overruled |= tokens[i] != before
        if task.on_step is not None:
            _report(task.on_step, rows, choice)
        parents = range(len(rows)) if choice.parents is None else choice.parents.tolist()
        rows = [_Row(row.prompt, row.generator, [*rows[p].generated, t]) for row, p, t in zip(rows, parents, tokens, strict=True)]
        keep = _retire(rows, choice, results, width, step.remaining, task.is_settled)
        if keep:
            if matcher is not None and len(keep) < len(rows):
                matcher.select(torch.tensor(keep, device=task.guidance.images.device))
            state = _read_texts(task, [rows[i] for i in keep]) if overruled else _advance(task.model, state, choice, keep, len(rows))
        rows = [rows[i] for i in keep]
    return results


def _read_texts(task: Task, rows: Sequence[_Row]) -> LanguageModelState:
    """The language model's state after all that the rows have so far."""
    texts = [(*task.prompts[row.prompt], *row.generated) for row in rows]
    place_of = {text: place for place, text in enumerate(dict.fromkeys(texts))}
    state = task.model.prefill([list(text) for text in place_of])
    if len(place_of) == len(texts):
        return state
    return task.model.select(state, torch.tensor([place_of[text] for text in texts], device=state.logits.device))


def _matcher(method: DecodingMethod, task: Task, rows: Sequence[_Row]) -> _Matcher | None:
    """What binds the rows to their images, if the method looks at any."""
    guidance = task.guidance
    if guidance is None or not method.needs_image:
        return None
    return _Matcher(guidance, torch.tensor([row.prompt for row in rows], device=guidance.images.device))


def _step(method: DecodingMethod, task: Task, rows: Sequence[_Row], state, matcher: _Matcher | None, *, lazy: bool) -> Step:
    return Step(
        model=task.model,
        state=state,
        prompts=[task.prompts[row.prompt] for row in rows],
        generated=[row.generated for row in rows],
        remaining=[_remaining(method, task, row) for row in rows],
        generators=[row.generator for row in rows],
        matcher=matcher,
        lazy=lazy,
        ends=None if task.on_step is not None else lambda row, token: _ends(method, task, rows[row], token),
    )


def _ends(method: DecodingMethod, task: Task, row: _Row, token: int) -> bool:
    """Whether the row's text ends with this token."""
    return _remaining(method, task, row) == 1 or task.is_settled([*row.generated, token])


def _remaining(method: DecodingMethod, task: Task, row: _Row) -> int:
    """Tokens that the row may still get."""
    return method.decoding_len - len(task.prompts[row.prompt]) - len(row.generated)


def _follow_memory(method: DecodingMethod, task: Task, row: _Row, results: list[list[int]]) -> bool:
    """Go on with a row as far as its steps are remembered; returns whether that finished it, with its text among the results."""
    matcher, prompt = _matcher(method, task, [row]), task.prompts[row.prompt]
    while (evidence := task.memory.get(prompt, row.generated)) is not None:
        choice = method.recall(evidence.as_rows(), matcher, lazy=task.lazy)
        if choice is None:
            break
        tokens, close = _read(choice, {} if matcher is None else {"image_text_model": matcher.faulty})
        if close and not evidence.alone and task.settle_ties:
            break
        task.memory.met += 1
        if task.on_step is not None:
            _report(task.on_step, [row], choice)
        is_last = _ends(method, task, row, tokens[0])
        row.generated = [*row.generated, *tokens]
        if is_last:
            results[row.prompt] = row.generated
            return True
    return False


def _decide_alone(method: DecodingMethod, task: Task, row: _Row, choice: Choice, index: int) -> int:
    """A row's next token as it comes out when nothing is computed beside it and nothing is left out or remembered.

    It takes the place of ``choice``'s, and so do its details.
    """
    state, matcher = _read_texts(task, [row]), _matcher(method, task, [row])
    alone = method.begin(1).step(_step(method, task, [row], state, matcher, lazy=False))
    [token], _ = _read(alone, _faulty(state, matcher, alone))
    if task.memory is not None and alone.evidence is not None:
        task.memory.put(task.prompts[row.prompt], row.generated, replace(alone.evidence.row(0), alone=True))
    choice.tokens[index] = token
    if task.on_step is not None:
        row_alone = torch.tensor([index], device=choice.tokens.device)
        for name, values in choice.details.items():  # copies: the candidates that were peeked at stay as they are
            choice.details[name] = None if values is None else values.index_copy(0, row_alone, alone.details[name])
    return token


def _faulty(state: LanguageModelState, matcher: _Matcher | None, choice: Choice) -> dict[str, torch.Tensor]:
    """Whether a model gave NaN in a step, by the settings group that names it."""
    faulty = {"language_model": state.logits.isnan().any()}
    if choice.faulty is not None:
        faulty["language_model"] = faulty["language_model"] | choice.faulty
    return faulty if matcher is None else faulty | {"image_text_model": matcher.faulty}


class _Matcher:
    """Binds each row to its image (implements ``method.Matcher``)."""

    def __init__(self, guidance: Guidance, prompt_of_row: torch.Tensor) -> None:
        self.images, self.scorer = guidance.images[prompt_of_row], guidance.scorer
        self.texts: TextSession | None = None
        """Opened when there is something to encode."""
        self.faulty = torch.zeros((), dtype=torch.bool, device=guidance.images.device)
        """Whether a feature was not finite; read together with the chosen tokens, so that a device is waited for once."""

    def encode(self, texts: list[list[str]]) -> torch.Tensor:
        if self.texts is None:
            self.texts = self.scorer.open_texts(len(self.images))
        return self.texts.encode(texts)

    def match(self, features: torch.Tensor, similarity: str) -> torch.Tensor:
        if similarity == "dot_product":
            match = scoring.dot_product(self.images, features)
        else:
            match = scoring.scaled_cosine(self.images, features, self.scorer.logit_scale)
        self.faulty = self.faulty | ~match.isfinite().all()
        return match

    def select(self, rows: torch.Tensor) -> None:
        self.images = self.images[rows]
        if self.texts is not None:
            self.texts.select(rows)


def _read(choice: Choice, faulty: dict[str, torch.Tensor]) -> tuple[list[int], list[int]]:
    """The chosen tokens on the host, and the rows whose choice is close, in one transfer with whether a model gave NaN.

    Raises:
        MagicError: One did.
    """
    num_rows, close = len(choice.tokens), torch.zeros_like(choice.tokens) if choice.close is None else choice.close
    numbers = torch.cat([choice.tokens, close.to(choice.tokens), *(flag.to(choice.tokens)[None] for flag in faulty.values())]).tolist()
    for model, is_faulty in zip(faulty, numbers[2 * num_rows :], strict=True):
        refuse_nan(model, bool(is_faulty))
    return numbers[:num_rows], [row for row, flag in enumerate(numbers[num_rows : 2 * num_rows]) if flag]


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _retire(rows, choice: Choice, results, width: int, remaining, is_settled) -> list[int]:
    """Write the results of finished prompts; return the indices of the rows that go on."""
    if choice.finished is not None:
        for group, generated in choice.finished.items():
            results[rows[group * width].prompt] = generated
        return [i for i in range(len(rows)) if i // width not in choice.finished]
    keep = []
    for i, row in enumerate(rows):
        if remaining[i] == 1 or is_settled(row.generated):
            results[row.prompt] = row.generated
        else:
            keep.append(i)
    return keep


def _advance(model: LanguageModel, state, choice: Choice, keep: list[int], num_rows: int):
    """Commit the chosen tokens and drop finished rows, whichever is cheaper first."""
    chosen = torch.tensor(keep, device=choice.tokens.device)
    if choice.candidate is not None:  # the tokens are already computed as candidates
        model.commit(state, choice.candidate)
        return state if len(keep) == num_rows else model.select(state, chosen)
    if choice.parents is not None:
        state = model.select(state, choice.parents[chosen])
    elif len(keep) < num_rows:
        state = model.select(state, chosen)
    model.peek(state, choice.tokens[chosen, None])
    model.commit(state, torch.zeros_like(chosen))
    return state


def _report(on_step: OnStep, rows: Sequence[_Row], choice: Choice) -> None:
    as_lists = {name: None if value is None else _without_nan(value.tolist()) for name, value in choice.details.items()}
    parents = None if choice.parents is None else choice.parents.tolist()
    for i, (row, token) in enumerate(zip(rows, choice.tokens.tolist(), strict=True)):
        details = {name: None if values is None else values[i] for name, values in as_lists.items()}
        beam = {} if parents is None else {"parent": parents[i], "row": i}
        on_step(row.prompt, len(row.generated), {"choice": token, **beam, **details})


def _without_nan(rows: list[list[float]]) -> list[list[float | None]]:
    return [[None if value != value else value for value in row] for row in rows]
