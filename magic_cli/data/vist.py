"""VIST (Huang et al. 2016): stories of five photos, as MiniGPT-5 uses them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from magic_cli.data.interleaved import InterleavedItem, Part, Step
from magic_cli.data.interleaved_datasets import Found, InterleavedDataset
from magic_cli.data.paths import expanded
from magic_cli.data.vist_files import HINT, FindImage, Scene, mapped_images, named_images, read_stories
from magic_cli.errors import MOST_SEED, SettingsError, require


class VistTask(Enum):
    """What a step asks for."""

    generation = "generation"
    """The image for a text."""
    multimodal = "multimodal"
    """The text and image of the next scene."""
    understanding = "understanding"
    """The text for an image."""


class VistSteps(Enum):
    """Which steps of a story are asked for; the others are only history."""

    all = "all"
    last = "last"


WORDS: dict[VistTask, tuple[str, ...]] = {
    VistTask.generation: ("Generate an image with the scene description: ", "the scene description: "),
    VistTask.multimodal: (
        "Tell me the next scene with image.",
        "Generate the next scene with image.",
        "What should happen then?",
    ),
    VistTask.understanding: ("Tell me the next scene description by this image: ", "What happen in the next scene image: "),
}
"""Prompts in the words of the released code; one is drawn for each step."""
_SHORT = {VistTask.generation: "gen"}


@dataclass
class VistDataset(InterleavedDataset):
    """Stories with photos. A story is left out if a photo or a text is missing.

    Attributes:
        annotations: The original ``*.story-in-sequence.json``, or ``*_cleaned.json`` in the layout of the released code.
        root: Folder of the images; null: the folder of the annotations.
        mapping: Released layout only: the file that gives the path of each image; null: ``*_image_mapping.json`` beside it.
        original_text: Original file only: true: the text as it was typed; false: in lower case with names replaced.
        tasks: What steps ask for. The kinds multimodal and understanding begin with the second scene.
        steps: ``all`` steps of a story, or only the ``last``.
        apart: true: each step is an item of its own, as in training; false: a story is one item with one task.
        seed: Seed for the choice of prompts, 0 to 2**63 - 1.
    """

    annotations: str | None = None
    root: str | None = None
    mapping: str | None = None
    original_text: bool = False
    tasks: list[VistTask] = field(default_factory=lambda: [VistTask.generation])
    steps: VistSteps = VistSteps.all
    apart: bool = False
    seed: int = 42

    def __post_init__(self) -> None:
        super().__post_init__()
        require("seed", self.seed, at_least=0, at_most=MOST_SEED, prefix="dataset")
        self.given("annotations")
        names = [task.value for task in self.tasks]
        if not names or len(set(names)) < len(names):
            raise SettingsError(
                f"dataset.tasks=[{', '.join(names)}]: name one of {', '.join(task.value for task in VistTask)} or several, each once"
            )
        if not self.apart and self.tasks not in ([VistTask.generation], [VistTask.multimodal]):
            raise SettingsError(
                f"dataset.tasks=[{', '.join(names)}]: a story is one item of generation or of multimodal; for others, or several, set dataset.apart=true"
            )

    def hint(self) -> str:
        return HINT

    def find(self) -> Found:
        """The items, and the stories that are left out."""
        file = expanded(self.given("annotations"), "dataset.annotations")
        stories, is_released = read_stories(file, original=self.original_text)
        root = expanded(self.root, "dataset.root") if self.root else file.parent
        find = mapped_images(file, root, self.mapping) if is_released else named_images(root)
        items: list[InterleavedItem] = []
        left_out = []
        for story, scenes in stories.items():
            scenes_or_reason = _with_images(scenes, find)
            if isinstance(scenes_or_reason, str):
                left_out.append((story, scenes_or_reason))
            else:
                items += self._items(story, scenes_or_reason)
        return items, left_out

    def _items(self, story: str, scenes: Sequence[tuple[Scene, Part, Part]]) -> list[InterleavedItem]:
        rows = [
            (task, number)
            for number in range(len(scenes))
            for task in VistTask
            if task in self.tasks
            and (task is VistTask.generation or number)
            and (self.steps is VistSteps.all or number == len(scenes) - 1)
        ]
        if not rows:
            return []
        if not self.apart:
            return [InterleavedItem(story, tuple(self._step(story, scenes, row) for row in rows), _past(scenes, rows[0][1]))]
        return [
            InterleavedItem(_row_id(story, scenes, row), (self._step(story, scenes, row),), _past(scenes, row[1])) for row in rows
        ]

    def _step(self, story: str, scenes: Sequence[tuple[Scene, Part, Part]], row: tuple[VistTask, int]) -> Step:
        task, number = row
        _, text, image = scenes[number]
        words = Part(random.Random(f"{self.seed} {_row_id(story, scenes, row)}").choice(WORDS[task]), once=True)
        if task is VistTask.generation:
            return Step((words, text), (image,))
        if task is VistTask.multimodal:
            return Step((words,), (text, image))
        return Step((words, Part(image=image.image, once=True)), (text,))


def _with_images(scenes: Sequence[Scene], find: FindImage) -> list[tuple[Scene, Part, Part]] | str:
    """The text and image of each scene; or the reason why the story is left out."""
    found = []
    for scene in scenes:
        if not scene.text.strip():
            return f"scene {scene.index} has no text"
        image = find(scene.image_id)
        if isinstance(image, str):
            return f"scene {scene.index}: {image}"
        found.append((scene, Part(scene.text), Part(image=image, caption=scene.text)))
    return found or "has no scenes"


def _past(scenes: Sequence[tuple[Scene, Part, Part]], number: int) -> tuple[Part, ...]:
    return tuple(part for _, text, image in scenes[:number] for part in (text, image))


def _row_id(story: str, scenes: Sequence[tuple[Scene, Part, Part]], row: tuple[VistTask, int]) -> str:
    """The id that the released code gives to the row."""
    task, number = row
    return f"{story}_{scenes[number][0].index}-{_SHORT.get(task, task.value)}"
