"""A text token by token: the new text of each step; joined, these are the whole text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from magic_cli.api.results import Step, StreamedStep, step_of
from magic_cli.api.writing import MemoryWriter


def streamed(writer: MemoryWriter, item: Any, choices: Iterator[tuple[list[int], dict[str, Any]]]) -> Iterator[StreamedStep]:
    """Yield the steps with the text so far. The last step completes the text, so each is yielded when the next one is known."""
    told = ""
    waiting: tuple[Step, str] | None = None
    for ids, line in choices:
        if waiting is not None:
            told, step = _tell(told, *waiting, held_back=writer.held_back, is_last=False)
            yield step
        waiting = step_of(line), writer.text_of(item, ids)
    if waiting is not None:
        yield _tell(told, *waiting, held_back=0, is_last=True)[1]


def _tell(told: str, step: Step, text: str, *, held_back: int, is_last: bool) -> tuple[str, StreamedStep]:
    """The text told so far, and the step with its new text: whole words only, because the next token may change the last one."""
    settled = text if is_last else text[: max(0, text.rfind(" ", 0, max(0, len(text) - held_back)))]
    settled = settled if len(settled) > len(told) else told
    if not text.startswith(told) or (is_last and settled != text):
        raise RuntimeError(f"streamed text {told!r} is no beginning of {text!r}")
    new = settled[len(told) :]
    return settled, StreamedStep(**vars(step), text=text, new_text=new)
