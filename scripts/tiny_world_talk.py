"""What is said in the tiny world: the tokenizers, and the talks from which its language model learns to see and to speak."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from typing import Any

import tiny_world as world

SLOT = "<ImageHere>"
PAD, BEGIN, UNKNOWN, END = "<pad>", "<s>", "<unk>", "</s>"  # the end is id 3: CLIP's pooling treats an end of id 2 in another way
TALK = """Give the following images in <Img>ImageContent</Img> format. You will be able to see the images once I provide it to you. Please
understanding images and generate story. Generate an image with the scene description: Tell me the next scene with image. What should happen
then? What happen in this conversations appropriate of by and or then is yes no here there picture say repeat ###Human: ###Assistant:"""


def words_of(text: str) -> list[str]:
    return re.findall(r"###|Human:|Assistant:|</?Img>|\w+|[^\w\s]", text)


def tokenizer_of(texts: list[str], *, frames: bool, length: int) -> Any:
    """One token a word; with ``frames`` every text is put between begin and end, as CLIP has it."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = sorted({word for text in texts for word in words_of(text)})
    vocabulary = {word: i for i, word in enumerate([PAD, BEGIN, UNKNOWN, END, *words])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    pattern = Regex(r"###|Human:|Assistant:|</?Img>|\w+|[^\w\s]|\s+")
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(pattern, "isolated"), pre_tokenizers.Split(Regex(r"\s+"), "removed")]
    )
    if frames:
        core.post_processor = processors.TemplateProcessing(single=f"{BEGIN} $A {END}", special_tokens=[(BEGIN, 1), (END, 3)])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=PAD,
        bos_token=BEGIN,
        unk_token=UNKNOWN,
        eos_token=END,
        model_max_length=length,
        padding_side="right",
    )


def talks(rng: random.Random) -> Iterator[tuple[list[Any], str, str]]:
    """(images, text with a slot for each, its end that is the answer): what a model that sees can say."""
    shown = f"<Img>{SLOT}</Img>"
    while True:
        colour, shape = rng.choice(world.KINDS)
        caption = world.CAPTION.format(colour=colour, shape=shape)
        image, kind = [world.picture(colour, shape, rng)], rng.random()
        if kind < 0.25:
            images, asked, answer = image, f"{shown} {world.WHAT}", caption
        elif kind < 0.35:
            images, asked, answer = image, f"{shown} {world.COLOUR}", colour
        elif kind < 0.55:
            other = rng.choice(world.SHAPES)
            images, asked = (
                [world.picture(colour, other, rng)],
                f"{shown} say {world.DRAW_SAME.format(shape=shape).removeprefix('draw ')}",
            )
            answer = caption
        elif kind < 0.8:
            count = rng.randint(1, 6)
            shapes = [world.following(shape, step) for step in range(count + 1)]
            images = [world.picture(colour, one, rng) for one in shapes[:-1]]
            answer = f"a {shapes[-1]}"
            asked = " ".join(f"a {one} {shown}" for one in shapes[:-1]) + f" {world.NEXT}"
            if rng.random() < 0.3:
                asked, answer = f"{asked} say the colour", colour
        elif kind < 0.9:
            images, asked, answer = [], f"repeat {rng.choice(['', 'draw '])}{caption}", caption
        else:
            answer = rng.choice(world.CAPTIONS).format(colour=colour, shape=shape)
            yield [], f"{answer} ###", f"{answer} ###"
            continue
        yield images, f"###Human: {asked} ###Assistant: {answer} ###", f"{answer} ###"
