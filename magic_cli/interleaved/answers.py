"""One answer of text, image or both: the decoding core chooses the tokens, its loop keeps the states of the vokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from magic_cli.decoding.generate import generate
from magic_cli.decoding.guides import Guide
from magic_cli.decoding.method import DecodingMethod
from magic_cli.decoding.prompts import Prompt
from magic_cli.decoding.request import Options
from magic_cli.decoding.rules import ForcedSequences, StopTexts
from magic_cli.decoding.sampling import GreedySearch
from magic_cli.decoding.text import CaptionFormat, until_end
from magic_cli.interleaved.drawers import Answer
from magic_cli.interleaved.run_settings import ForceImage

if TYPE_CHECKING:
    from magic_cli.interleaved.model import InterleavedModel


class Answering:
    """Writes answers with one model.

    Args:
        model: The model.
        method: How tokens are chosen.
        options: Options of the core, with the rules on the next token; the rules for vokens are added here.
        stop: Texts that end an answer; None: only the end token does.
        force: Whether an answer must have an image; None: there are no vokens, and images are drawn from the text.
    """

    def __init__(
        self, model: InterleavedModel, method: DecodingMethod, options: Options, stop: StopTexts | None, force: ForceImage | None
    ) -> None:
        self.model, self.stop, self.force = model, stop, force
        self.decoding_len = method.decoding_len
        # leaves room for an image that is added after the text
        self._reserved = len(model.voken_ids) if force is ForceImage.last else 0
        self.method = shortened(method, self._reserved)
        never = [model.slot_id, *([] if force else model.voken_ids)]
        vokens = [self._vokens(0 if force is ForceImage.first else None)] if force else []
        text_format = CaptionFormat(model.language_model, stop)
        self.options = replace(
            options,
            text_format=text_format,
            with_hidden=True,
            rules=(*options.rules, *vokens, NeverTokens(never)),
        )

    def _vokens(self, begin_at: int | None) -> ForcedSequences:
        return ForcedSequences([self.model.voken_ids], begin_at=begin_at, once=True)

    def write(
        self, prompts: Sequence[Prompt], seeds: Sequence[int], guides: Sequence[Guide] = (), *, new_tokens: int, **options: Any
    ) -> list[Answer]:
        """Write answers without their images.

        Args:
            prompts: B prompts; each leaves room for an image and one more token.
            seeds: One for each prompt.
            guides: Guides, for methods that look at an image.
            new_tokens: The most tokens of an answer, vokens included; more than the number of vokens.
            options: Further options of the core.
        """
        more = replace(self.options, seeds=list(seeds), new_tokens=new_tokens - self._reserved, **options)
        written = generate(self.model.language_model, self.method, prompts, guides, more)
        answers = [self._answer(one.ids, one.hidden) for one in written]
        if self.force is ForceImage.last:
            self._add_images(prompts, answers)
        return answers

    def _answer(self, ids: Sequence[int], hidden: Tensor | None) -> Answer:
        if self.force is None:
            text = self._text(ids)
            return Answer(list(ids), text, description=text)
        place = voken_place(ids, self.model.voken_ids)
        if place is None:
            return Answer(list(ids), self._text(ids))
        assert hidden is not None  # the options ask for it
        end = place + len(self.model.voken_ids)
        return Answer(list(ids), self._text(ids[:place]), self._text(ids[end:]), hidden[place:end].clone())

    def _text(self, ids: Sequence[int]) -> str:
        words = until_end(ids, self.model.language_model.end_ids)
        text = self.model.language_model.decode([words])[0] if self.stop is None else self.stop.text([], words)
        return " ".join(text.split())

    def _add_images(self, prompts: Sequence[Prompt], answers: list[Answer]) -> None:
        """Add vokens after the text of answers that have none."""
        bare = [row for row, answer in enumerate(answers) if answer.features is None]
        if not bare:
            return
        number = len(self.model.voken_ids)
        kept = [self._without_end(answers[row].ids) for row in bare]
        texts = [Prompt([*prompts[row].ids, *ids], prompts[row].vectors) for row, ids in zip(bare, kept, strict=True)]
        options = Options(rules=[self._vokens(0)], with_hidden=True, new_tokens=number, settle_ties=False)
        written = generate(self.model.language_model, GreedySearch(self.decoding_len), texts, options=options)
        for row, ids, one in zip(bare, kept, written, strict=True):
            answers[row] = replace(answers[row], ids=[*ids, *one.ids], features=one.hidden)

    def _without_end(self, ids: Sequence[int]) -> list[int]:
        """The tokens before the end token."""
        kept = until_end(ids, self.model.language_model.end_ids)
        while self.stop is not None and self.stop.is_settled(kept):
            kept = kept[:-1]
        return kept


def shortened(method: DecodingMethod, number: int) -> DecodingMethod:
    """The same method with ``number`` fewer tokens in all."""
    base = getattr(method, "base", None)
    inner = {} if base is None else {"base": shortened(base, number)}
    return replace(method, decoding_len=method.decoding_len - number, **inner) if number else method


class NeverTokens:
    """A rule against tokens that do not stand for text.

    Args:
        tokens: Their ids.
    """

    def __init__(self, tokens: Sequence[int]) -> None:
        self.tokens = list(tokens)

    def __call__(self, logits: Tensor, prompts: Sequence[Sequence[int]], generated: Sequence[Sequence[int]]) -> Tensor:
        result = logits.clone()
        result[:, self.tokens] = -torch.inf
        return result


def voken_place(ids: Sequence[int], vokens: Sequence[int]) -> int | None:
    """The position of the first complete group of vokens; None: there is none.

    >>> voken_place([5, 8, 9, 3], [8, 9]), voken_place([5, 8], [8, 9])
    (1, None)
    """
    number = len(vokens)
    return next((i for i in range(len(ids) - number + 1) if list(ids[i : i + number]) == list(vokens)), None)
