"""The entry point of all methods, and the decoding loop: captions and stories, every method, any batch size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from magic_cli.decoding.batch import Batch, open_rows
from magic_cli.decoding.guides import Guide, WordsGuide
from magic_cli.decoding.method import DecodingMethod, WholeTexts
from magic_cli.decoding.prompts import Prompt
from magic_cli.decoding.protocols import LanguageModel
from magic_cli.decoding.request import Options, Request, Written
from magic_cli.decoding.shortcuts.deciding import decide
from magic_cli.decoding.shortcuts.remembering import go_on_from_memory
from magic_cli.errors import SettingsError


@torch.inference_mode()
def generate(
    model: LanguageModel | None,
    method: DecodingMethod | WholeTexts,
    prompts: Sequence[Prompt | Sequence[int]],
    guides: Sequence[Guide] = (),
    options: Options = Options(),  # noqa: B008 - it is frozen
) -> list[Written]:
    """Continue every prompt.

    Args:
        model: The language model; None: the method needs none.
        method: Decoding method; ``method.decoding_len`` counts the prompt.
        prompts: B prompts, each at least one token long, or empty if there is no language model; lengths may differ.
        guides: The guides of methods that look at images (``Method.needs_image``), each with a weight; other methods ignore them.
        options: How the texts are written.

    Returns:
        The result for each prompt.

    Raises:
        SettingsError: The method needs an image and has none, k exceeds the vocabulary, or a prompt fills decoding_len.
        MagicError: A model computes NaN, as large ones may in float16.
    """
    request = _request(model, method, prompts, guides, options)
    if isinstance(method, WholeTexts):
        written = method.write(request)
    else:
        results: dict[int, Written] = {}
        for _ in take_steps(method, request, results):
            pass
        written = [results[index] for index in range(len(request.prompts))]
    return _with_hidden(request, written) if options.with_hidden else written


@torch.inference_mode()
def stream(
    model: LanguageModel,
    method: DecodingMethod,
    prompt: Prompt | Sequence[int],
    guides: Sequence[Guide] = (),
    options: Options = Options(),  # noqa: B008 - it is frozen
) -> Iterator[None]:
    """As ``generate`` for one prompt, but the caller gets control after each step; ``options.on_step`` has then been called.

    Raises:
        SettingsError: As in ``generate``; or the method chooses a whole text at the end (``Method.writes_in_order``).
    """
    request = _request(model, method, [prompt], guides, options)
    if not method.writes_in_order:
        raise SettingsError(f"decoding: {type(method).__name__} chooses a whole text at its end, so its steps cannot be streamed")
    yield from take_steps(method, request, {})


def _request(
    model: LanguageModel | None,
    method: DecodingMethod | WholeTexts,
    prompts: Sequence[Prompt | Sequence[int]],
    guides: Sequence[Guide],
    options: Options,
) -> Request:
    """The checked request."""
    read = [Prompt.of(prompt) for prompt in prompts]
    if method.needs_image and not guides:
        raise SettingsError(f"decoding: {type(method).__name__} looks at an image, but none was given")
    if model is not None:
        method.check(model, [prompt.ids for prompt in read])
    if any(isinstance(guide, WordsGuide) for guide in guides):  # a step's candidates then depend on more than the text so far
        options = replace(options, memory=None)
    return Request(model, read, guides if method.needs_image else (), options)


def take_steps(method: DecodingMethod, request: Request, results: dict[int, Written]) -> Iterator[None]:
    """The common loop: prepare; then step, choose, append and retire until all rows are done. Results have the prompt's index."""
    rows = go_on_from_memory(method, request, open_rows(method, request), results)
    batch, search = Batch.of(method, request, rows), method.begin(len(request.prompts))
    while batch.rows:
        step = batch.step()
        choice = search.step(step)
        tokens, overruled = decide(batch, step, choice)
        batch.append(choice, tokens)
        batch.retire(choice, results, reread=overruled)
        yield


def _with_hidden(request: Request, written: Sequence[Written]) -> list[Written]:
    """The results with the hidden states behind the choices. If the loop has not kept them, the texts are read again."""
    unread = [index for index, one in enumerate(written) if one.hidden is None]
    if not unread:
        return list(written)
    prompts = [request.prompts[index] for index in unread]
    texts = [
        Prompt([*prompt.ids, *written[index].ids[:-1]], prompt.vectors) for index, prompt in zip(unread, prompts, strict=True)
    ]
    hidden = request.model.prefill(texts).hidden  # (B, T, H), left-padded
    read = {index: hidden[row, hidden.shape[1] - len(written[index].ids) :].clone() for row, index in enumerate(unread)}
    return [replace(one, hidden=read.get(index, one.hidden)) for index, one in enumerate(written)]
