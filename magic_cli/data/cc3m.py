"""Conceptual Captions (Sharma et al. 2018): one caption per image. MiniGPT-5 learns to draw from it."""

from __future__ import annotations

import csv
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from magic_cli.data.cc3m_shards import shard_rows
from magic_cli.data.interleaved import InterleavedItem, Part, Step
from magic_cli.data.interleaved_datasets import Found, InterleavedDataset
from magic_cli.data.json_files import whole_characters
from magic_cli.data.paths import expanded, named_paths
from magic_cli.data.text_files import read_text, text_lines
from magic_cli.errors import MOST_ITEMS, MOST_SEED, MagicError, require

HINT = (
    "set dataset.captions to a table caption<TAB>image_path with that header, or to shards that scripts/prepare_conceptual_captions.py wrote "
    "('data/conceptual_captions/*.tar'; data/README.md)"
)
HEADER = ["caption", "image_path"]
INSTRUCTIONS = (
    "generate image with caption:", "can you give me the image with caption:", "help me to generate this image:",
    "generate image with according to caption:", "according to caption, generate image:", "an image with caption:",
    "can you visualize this caption:",
)  # fmt: skip
"""Instructions in the words of the released code."""
_SYSTEM = "You will be able to generate image according to command."
_SIGNS, _SPACES = re.compile(r'[.!"()*#:;~]'), re.compile(r"\s{2,}")


@dataclass
class Cc3mDataset(InterleavedDataset):
    """Captions with images. A row is left out if its image is missing or its cleaned caption is empty.

    Attributes:
        captions: The table, or a shard, or a pattern of shards.
        root: Folder that the table's paths start from; null: the table's own. For shards: the folder that images are unpacked to;
            null: ``unpacked`` beside them.
        instructions: After every so many rows, one row is added again with an instruction around it, as in the released
            training; null: never.
        seed: Seed for the choice of instructions, 0 to 2**63 - 1.
        released: Read quotes of the table as the released code does: after a quote at the start of a caption, tabs and line ends
            up to the next quote belong to the caption.
    """

    captions: str | None = None
    root: str | None = None
    instructions: int | None = None
    seed: int = 42
    released: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require("seed", self.seed, at_least=0, at_most=MOST_SEED, prefix="dataset")
        if self.instructions is not None:
            require("instructions", self.instructions, at_least=1, limit=MOST_ITEMS, prefix="dataset")
        self.given("captions")

    def hint(self) -> str:
        return HINT

    def find(self) -> Found:
        items: list[InterleavedItem] = []
        left_out: list[tuple[str, str]] = []
        for found in self.stream():
            if isinstance(found, InterleavedItem):
                items.append(found)
            else:
                left_out.append(found)
        return items, left_out

    def stream(self) -> Iterator[InterleavedItem | tuple[str, str]]:
        count = 0
        for number, caption, image in self._rows():
            cleaned = clean_caption(whole_characters(caption))
            if not cleaned:
                yield f"cc3m_{number}", f"nothing is left of its caption {caption[:60]!r}"
            elif not image.is_file():
                yield f"cc3m_{number}", f"no image {image}"
            else:
                for item in self._items(number, cleaned, image):
                    if count == self.limit:
                        return
                    yield item
                    count += 1
                if count == self.limit:
                    return

    def _items(self, number: int, caption: str, image: Path) -> list[InterleavedItem]:
        target = (Part(image=image, caption=caption),)
        items = [InterleavedItem(f"cc3m_{number}", (Step((Part(caption),), target),))]
        if self.instructions is not None and number % self.instructions == 0:
            words = random.Random(f"{self.seed} {number}").choice(INSTRUCTIONS)
            told = Part(f"{_SYSTEM}###Human: {words} {caption} ###Assistant:")
            items.append(InterleavedItem(f"cc3m_{number}_instruction", (Step((told,), target),)))
        return items

    def _rows(self) -> Iterator[tuple[int, str, Path]]:
        """Number from 0, caption and image of each row."""
        captions = self.given("captions")
        files = named_paths(captions)
        if not files:
            raise MagicError(
                f"dataset.captions={self.captions}: no such file (looked at {expanded(captions).absolute()}); {HINT}"
            )
        are_shards = [file.suffix.lower() == ".tar" for file in files]
        if any(are_shards):
            if not all(are_shards):
                raise MagicError(
                    f"dataset.captions={self.captions}: names shards and other files ({files[are_shards.index(False)]}); name either"
                )
            yield from shard_rows(files, expanded(self.root, "dataset.root") if self.root else files[0].parent / "unpacked")
            return
        if len(files) > 1:
            raise MagicError(f"dataset.captions={self.captions}: names {len(files)} tables; name one")
        root = expanded(self.root, "dataset.root") if self.root else files[0].parent
        for number, (caption, name) in enumerate(_table(files[0], released=self.released)):
            yield number, caption, root / name


def clean_caption(caption: str) -> str:
    """The caption as the model reads it: lower case, without the signs ``. ! " ( ) * # : ; ~``, spaces collapsed.

    >>> clean_caption("Burning candle #1 (in the aquarium)  with small fish .")
    'burning candle 1 in the aquarium with small fish'
    """
    return _SPACES.sub(" ", _SIGNS.sub(" ", caption.lower())).rstrip("\n").strip(" ")


def _table(file: Path, *, released: bool) -> Iterator[tuple[str, str]]:
    place = f"dataset.captions={file}"
    text = read_text(file, setting="dataset.captions", hint=HINT)
    if released:
        lines = text.replace("\r\n", "\n").splitlines(keepends=True)
        rows = ((number, row) for number, row in enumerate(csv.reader(lines, delimiter="\t"), start=1) if row)
    else:
        rows = ((number, line.removesuffix("\r").split("\t")) for number, line in text_lines(text))
    number, header = next(rows, (1, []))
    if header != HEADER:
        what = (
            "this is the public file of captions and addresses; download its images with scripts/prepare_conceptual_captions.py, and name the shards"
            if _has_address(header)
            else HINT
        )
        raise MagicError(f"{place} line {number}: its header must be caption<TAB>image_path, got {str(header)[:60]!r}; {what}")
    for number, cells in rows:
        if len(cells) != len(HEADER):
            raise MagicError(
                f"{place} line {number}: has {len(cells)} columns, but caption<TAB>image_path has two; mend the line"
            )
        yield cells[0], cells[1]


def _has_address(cells: list[str]) -> bool:
    return len(cells) == 2 and cells[1].strip().startswith(("http://", "https://"))
