"""Turns items into samples: token ids of prompt and answer, and the files of their images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from magic_cli.data.images import StoredImage, UnreadableImage, open_image
from magic_cli.data.interleaved import InterleavedItem, Part
from magic_cli.errors import MagicError
from magic_cli.interleaved.drawing import Drawing
from magic_cli.interleaved.prompts import Context, PromptSettings, step_prompt
from magic_cli.interleaved.training.losses import VokenBatch
from magic_cli.interleaved.vision import QFormerReader
from magic_cli.interleaved.vokens import IMAGE_SLOT, VokenIds, refuse_reserved, voken_names
from magic_cli.training.simctg import IGNORED

END = "###"
"""The end of an answer."""


@dataclass(frozen=True)
class VokenSample:
    """One step of an item, after the true answers to the steps before it.

    Attributes:
        ids: Token ids of prompt and answer, beginning with the begin-of-text token; one image slot per image vector.
        num_prompt: How many of the ids belong to the prompt.
        read: The images of the prompt, in order.
        drawn: The image of the answer; None: the answer is text alone.
        caption: The caption of that image; None: not known.
    """

    ids: tuple[int, ...]
    num_prompt: int
    read: tuple[Path | StoredImage, ...]
    drawn: Path | StoredImage | None
    caption: str | None


def answer_text(target: Sequence[Part], num_vokens: int) -> str:
    """The text of an answer for training: its texts, then the vokens if there is an image, then the end.

    >>> answer_text([Part(text="A dog.")], 2)
    'A dog. ###'
    >>> answer_text([Part(text="A dog."), Part(image=Path("dog.jpg"))], 2)
    'A dog. [IMG0][IMG1] ###'
    """
    pieces = [part.text for part in target if part.text is not None]
    has_picture = any(part.image is not None for part in target)
    return " ".join([*pieces, *(["".join(voken_names(num_vokens))] if has_picture else []), END])


class Encoder:
    """Makes samples from items.

    Args:
        tokenizer: The language model's tokenizer, with the vokens.
        ids: Ids of the vokens.
        prompt: How parts become a prompt.
        num_vectors: Vectors per image that is read (q).
        max_length: The most tokens of a sample.
    """

    def __init__(self, tokenizer: Any, ids: VokenIds, prompt: PromptSettings, *, num_vectors: int, max_length: int) -> None:
        self.tokenizer, self.ids, self.prompt = tokenizer, ids, prompt
        self.num_vectors, self.max_length = num_vectors, max_length

    def samples(self, items: Sequence[InterleavedItem], setting: str) -> tuple[list[VokenSample], int]:
        """A sample for each step that has an answer, and the number of samples left out because they are too long.

        Raises:
            MagicError: There are none, a text contains a voken, or an earlier answer is missing.
        """
        made = [sample for item in items for sample in self._steps(item)]
        kept = [sample for sample in made if len(sample.ids) <= self.max_length]
        if not kept:
            reason = (
                f"all {len(made)} are longer than run.max_length={self.max_length} tokens" if made else "no step has a target"
            )
            raise MagicError(f"{setting}: there is nothing to learn from: {reason}")
        return kept, len(made) - len(kept)

    def _steps(self, item: InterleavedItem) -> Iterator[VokenSample]:
        for number, step in enumerate(item.steps):
            if step.target is None:
                continue
            try:
                truth = item.truth(number)
            except ValueError as error:
                raise MagicError(
                    f"dataset: item {item.id!r} step {number + 1}: its past is not known ({error}); give all targets, or none"
                ) from None
            yield self._sample(step_prompt(item, number, truth, Context.both, self.prompt), step.target)

    def _sample(self, pieces: Sequence[str | Path | StoredImage], target: Sequence[Part]) -> VokenSample:
        number = len(self.ids.vokens)
        refuse_reserved(
            [piece for piece in pieces if isinstance(piece, str)] + [part.text for part in target if part.text], number
        )
        source = "".join(piece if isinstance(piece, str) else IMAGE_SLOT for piece in pieces)
        answer = answer_text(target, number)
        prompt, whole = (self.tokenizer(text, add_special_tokens=False)["input_ids"] for text in (source, f"{source} {answer}"))
        if (
            whole[: len(prompt)] != prompt
        ):  # the beginning of the answer merged into the last token of the prompt, which cannot happen in generation
            whole = [*prompt, *self.tokenizer(answer, add_special_tokens=False)["input_ids"]]
        begin = [] if self.tokenizer.bos_token_id is None else [self.tokenizer.bos_token_id]
        spread = [[i] * (self.num_vectors if i == self.ids.slot else 1) for i in whole]
        num_prompt = len(begin) + sum(map(len, spread[: len(prompt)]))
        picture = next((part for part in target if part.image is not None), None)
        return VokenSample(
            (*begin, *(i for group in spread for i in group)), num_prompt, tuple(piece for piece in pieces if not isinstance(piece, str)),
            picture.image if picture else None, picture.caption if picture else None,
        )  # fmt: skip


class Collator:
    """Makes micro-batches from samples: reads their images and mirrors some of them.

    Args:
        reader: Prepares the images that are read.
        drawing: Prepares the images that are drawn.
    """

    def __init__(self, reader: QFormerReader, drawing: Drawing) -> None:
        self._read, self._drawn = reader.prepare, drawing.prepare
        self._sides = (reader.side, drawing.side)

    def __call__(self, samples: Sequence[VokenSample], *, flip: bool) -> VokenBatch:
        """Make the micro-batch; with ``flip``, torch's random numbers decide for each image whether it is mirrored.

        Raises:
            MagicError: An image cannot be read.
        """
        width = max(len(sample.ids) for sample in samples)
        ids, labels = torch.zeros(len(samples), width, dtype=torch.long), torch.full((len(samples), width), IGNORED)
        for row, sample in enumerate(samples):
            tokens = torch.tensor(sample.ids)
            ids[row, : len(tokens)] = tokens
            labels[row, sample.num_prompt : len(tokens)] = tokens[sample.num_prompt :]
        rows = [row for row, sample in enumerate(samples) if sample.drawn is not None]
        return VokenBatch(
            ids, labels, torch.tensor([len(sample.ids) for sample in samples]),
            _pixels([file for sample in samples for file in sample.read], self._read, self._sides[0], flip),
            _pixels([sample.drawn for sample in samples if sample.drawn is not None], self._drawn, self._sides[1], flip),
            torch.tensor(rows, dtype=torch.long), [samples[row].caption for row in rows],
        )  # fmt: skip


def _pixels(files: Sequence[Path | StoredImage], prepare: Callable[[Any], np.ndarray], side: int, flip: bool) -> torch.Tensor:
    """(M, 3, S, S) prepared images."""
    if not files:
        return torch.zeros(0, 3, side, side)
    pixels = torch.from_numpy(np.stack([prepare(_opened(file)) for file in files]))
    if not flip:
        return pixels
    is_mirrored = torch.rand(len(files)) < 0.5
    return torch.where(is_mirrored[:, None, None, None], pixels.flip(-1), pixels)


def _opened(file: Path | StoredImage) -> Any:
    try:
        return open_image(file)
    except UnreadableImage as error:
        raise MagicError(
            f"dataset: the picture {file} cannot be read ({error}); take its item out, or mend the picture"
        ) from None
