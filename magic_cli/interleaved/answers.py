"""One answer of text and image, or one: tokens by the decoding core, voken states from its loop."""

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
        model: It.
        method: How tokens are chosen.
        options: Of the core, the rules on the next token included; the vokens' are added here.
        stop: Texts that end an answer; None: only the model's own end.
        force: Whether an answer must have an image; None: it has no vokens, and its image is drawn from its text.
    """

    def __init__(
        self, model: InterleavedModel, method: DecodingMethod, options: Options, stop: StopTexts | None, force: ForceImage | None
    ) -> None:
        self.model, self.stop, self.force = model, stop, force
        self.decoding_len = method.decoding_len
        # an image that is added behind the text needs room, too
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
        """Answers without their images.

        Args:
            prompts: B prompts; each leaves room for an image and one token more.
            seeds: One for each.
            guides: Of methods that look at an image.
            new_tokens: At most so many are written, vokens included: more than there are vokens.
            options: More of the core's.
        """
        more = replace(self.options, seeds=list(seeds), new_tokens=new_tokens - self._reserved, **options)
        written = generate(self.model.language_model, self.method, prompts, guides, more)
        answers = [self._answer(one.ids, one.hidden) for one in written]
        if self.force is ForceImage.last:
            self._add_images(prompts, answers)
        return answers

    def _answer(self, ids: Sequence[int], hidden: Tensor) -> Answer:
        if self.force is None:
            text = self._text(ids)
            return Answer(list(ids), text, description=text)
        place = voken_place(ids, self.model.voken_ids)
        if place is None:
            return Answer(list(ids), self._text(ids))
        end = place + len(self.model.voken_ids)
        return Answer(list(ids), self._text(ids[:place]), self._text(ids[end:]), hidden[place:end].clone())

    def _text(self, ids: Sequence[int]) -> str:
        words = until_end(ids, self.model.language_model.end_ids)
        text = self.model.language_model.decode([words])[0] if self.stop is None else self.stop.text([], words)
        return " ".join(text.split())

    def _add_images(self, prompts: Sequence[Prompt], answers: list[Answer]) -> None:
        """Let vokens follow the text of answers that have none."""
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
        """The tokens before the end of the text."""
        kept = until_end(ids, self.model.language_model.end_ids)
        while self.stop is not None and self.stop.is_settled(kept):
            kept = kept[:-1]
        return kept


def shortened(method: DecodingMethod, number: int) -> DecodingMethod:
    """The method with so many tokens less in all."""
    base = getattr(method, "base", None)
    inner = {} if base is None else {"base": shortened(base, number)}
    return replace(method, decoding_len=method.decoding_len - number, **inner) if number else method


class NeverTokens:
    """Tokens that stand for something else than text, and may never come.

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
    """Where the first whole group of vokens begins; None: there is none.

    >>> voken_place([5, 8, 9, 3], [8, 9]), voken_place([5, 8], [8, 9])
    (1, None)
    """
    number = len(vokens)
    return next((i for i in range(len(ids) - number + 1) if list(ids[i : i + number]) == list(vokens)), None)
