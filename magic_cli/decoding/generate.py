"""The one decoding loop: captions and stories, every method, any batch size; and the one door to methods with their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from magic_cli.decoding import scoring
from magic_cli.decoding.method import Choice, DecodingMethod, Guidance, OnStep, OwnLoop, Step, Task, refuse_nan
from magic_cli.errors import SettingsError
from magic_cli.protocols import LanguageModel


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

    Returns:
        B lists of generated token ids, prompt excluded.

    Raises:
        SettingsError: The method needs an image and has none, k exceeds the vocabulary, or a prompt fills decoding_len.
        MagicError: A model computes NaN, as large ones may in float16.
    """
    _check(model, method, prompts, guidance)
    seeds = list(seeds) if seeds else [0] * len(prompts)
    task = Task(model, [list(prompt) for prompt in prompts], guidance, is_settled, seeds, on_step, lazy)
    return method.write(task) if isinstance(method, OwnLoop) else _write_by_steps(method, task)


def _write_by_steps(method: DecodingMethod, task: Task) -> list[list[int]]:
    """The common loop: every step asks the method for the next token of all rows."""
    model, prompts, guidance = task.model, task.prompts, task.guidance
    width = method.rows_per_prompt
    rows = [_Row(i, _generator(task.seeds[i])) for i in range(len(prompts)) for _ in range(width)]
    results: list[list[int]] = [[] for _ in prompts]
    search = method.begin(len(prompts))
    state = model.prefill(prompts)
    if width > 1:
        state = model.select(state, torch.arange(len(prompts), device=state.logits.device).repeat_interleave(width))
    matcher = None
    if guidance is not None and method.needs_image:
        matcher = _Matcher(guidance, torch.tensor([row.prompt for row in rows], device=guidance.images.device))
    step_index = 0
    while rows:
        faulty = {"language_model": state.logits.isnan().any()}
        step = Step(
            model=model,
            state=state,
            prompts=[prompts[row.prompt] for row in rows],
            generated=[row.generated for row in rows],
            remaining=[method.decoding_len - len(prompts[row.prompt]) - len(row.generated) for row in rows],
            generators=[row.generator for row in rows],
            match=matcher,
            lazy=task.lazy,
        )
        choice = search.step(step)
        if matcher is not None:
            faulty["image_text_model"] = matcher.faulty
        if choice.faulty is not None:
            faulty["language_model"] = faulty["language_model"] | choice.faulty
        tokens = _read(choice.tokens, faulty)
        if task.on_step is not None:
            _report(task.on_step, step_index, rows, choice)
        parents = range(len(rows)) if choice.parents is None else choice.parents.tolist()
        rows = [_Row(row.prompt, row.generator, [*rows[p].generated, t]) for row, p, t in zip(rows, parents, tokens, strict=True)]
        keep = _retire(rows, choice, results, width, step.remaining, task.is_settled)
        if keep:
            state = _advance(model, state, choice, keep, len(rows))
            if matcher is not None and len(keep) < len(rows):
                matcher.select(torch.tensor(keep, device=guidance.images.device))
        rows = [rows[i] for i in keep]
        step_index += 1
    return results


class _Matcher:
    """Binds each row to its image: called with R x K texts, gives the (R, K) image-text match."""

    def __init__(self, guidance: Guidance, prompt_of_row: torch.Tensor) -> None:
        self.images = guidance.images[prompt_of_row]
        self.logit_scale = guidance.scorer.logit_scale
        self.texts = guidance.scorer.open_texts(len(prompt_of_row))
        self.faulty = torch.zeros((), dtype=torch.bool, device=guidance.images.device)
        """Whether a feature was not finite; read together with the chosen tokens, so that a device is waited for once."""

    def __call__(self, texts: list[list[str]], similarity: str) -> torch.Tensor:
        features = self.texts.encode(texts)
        if similarity == "dot_product":
            match = scoring.dot_product(self.images, features)
        else:
            match = scoring.scaled_cosine(self.images, features, self.logit_scale)
        self.faulty = self.faulty | ~match.isfinite().all()
        return match

    def select(self, rows: torch.Tensor) -> None:
        self.images = self.images[rows]
        self.texts.select(rows)


def _check(model: LanguageModel, method: DecodingMethod, prompts: Sequence[Sequence[int]], guidance: Guidance | None) -> None:
    if method.needs_image and guidance is None:
        raise SettingsError(f"decoding: {type(method).__name__} looks at an image, but none was given")
    if method.num_candidates > model.vocab_size:
        raise SettingsError(f"decoding.k must be at most the vocabulary size {model.vocab_size}, got {method.num_candidates}")
    longest = max(map(len, prompts), default=0)
    if longest >= method.decoding_len:
        raise SettingsError(
            f"decoding.decoding_len counts the prompt and must exceed its {longest} tokens, got {method.decoding_len}"
        )


def _read(tokens: torch.Tensor, faulty: dict[str, torch.Tensor]) -> list[int]:
    """The chosen tokens on the host, in one transfer with whether a model gave NaN.

    Raises:
        MagicError: One did.
    """
    numbers = torch.cat([tokens, torch.stack(list(faulty.values())).to(tokens)]).tolist()
    for model, is_faulty in zip(faulty, numbers[len(tokens) :], strict=True):
        refuse_nan(model, bool(is_faulty))
    return numbers[: len(tokens)]


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


def _report(on_step: OnStep, step_index: int, rows: list[_Row], choice: Choice) -> None:
    as_lists = {name: None if value is None else _without_nan(value.tolist()) for name, value in choice.details.items()}
    parents = None if choice.parents is None else choice.parents.tolist()
    for i, (row, token) in enumerate(zip(rows, choice.tokens.tolist(), strict=True)):
        details = {name: None if values is None else values[i] for name, values in as_lists.items()}
        beam = {} if parents is None else {"parent": parents[i], "row": i}
        on_step(row.prompt, step_index, {"choice": token, **beam, **details})


def _without_nan(rows: list[list[float]]) -> list[list[float | None]]:
    return [[None if value != value else value for value in row] for row in rows]
