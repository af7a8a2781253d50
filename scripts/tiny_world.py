"""The tiny world: coloured shapes, what can be said of them, and illustrated stories of them, as files for magic.

    python scripts/tiny_world.py DIR             captions.jsonl, tasks.jsonl, stories.jsonl and their pictures, in seconds;
                                                 all.jsonl: tasks and stories; last.jsonl: of each story its last step alone, after the
                                                 true ones before it; scenes.jsonl: its shape is named, after the step before
    python scripts/tiny_world.py DIR --seed 1    others of the same kind

A story goes round the shapes (circle, square, triangle, cross) and keeps its colour. Its texts name shapes only: the colour is in
the pictures alone, so who does not look at them cannot know it.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

COLOURS = {"red": (214, 40, 40), "green": (50, 160, 60), "blue": (45, 85, 210), "yellow": (245, 205, 40)}
SHAPES = ("circle", "square", "triangle", "cross")
KINDS = [(colour, shape) for colour in COLOURS for shape in SHAPES]
SIDE = 32
_FINE = 4  # drawn so many times larger, then scaled down

CAPTION = "a {colour} {shape}"
CAPTIONS = (CAPTION, "a picture of a {colour} {shape}", "there is a {colour} {shape} here")
WHAT, COLOUR, NEXT, DRAW, DRAW_SAME = (
    "what is this ?",
    "what colour is it ?",
    "what comes next ?",
    "draw {what}",
    "draw a {shape} of this colour",
)


def picture(colour: str, shape: str, rng: random.Random) -> Image.Image:
    """A shape of a random size and place on paper, 32 x 32 pixels."""
    paper = tuple(rng.randint(228, 255) for _ in range(3))
    ink = tuple(max(0, min(255, level + rng.randint(-18, 18))) for level in COLOURS[colour])
    radius = rng.uniform(8.5, 11.5) * _FINE
    x, y = (rng.uniform(radius + _FINE, SIDE * _FINE - radius - _FINE) for _ in range(2))
    image = Image.new("RGB", (SIDE * _FINE,) * 2, paper)
    draw = ImageDraw.Draw(image)
    if shape == "circle":
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=ink)
    elif shape == "square":
        half = radius * 0.86
        draw.rectangle((x - half, y - half, x + half, y + half), fill=ink)
    elif shape == "triangle":
        draw.polygon([(x, y - radius), (x - radius, y + radius * 0.85), (x + radius, y + radius * 0.85)], fill=ink)
    else:
        thick = radius * 0.34
        draw.rectangle((x - radius, y - thick, x + radius, y + thick), fill=ink)
        draw.rectangle((x - thick, y - radius, x + thick, y + radius), fill=ink)
    return image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def following(shape: str, steps: int = 1) -> str:
    """The shape that comes next in a story."""
    return SHAPES[(SHAPES.index(shape) + steps) % len(SHAPES)]


class Pictures:
    """Writes pictures into a folder, and names them as the files of items do."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self.folder, self.rng, self.count = folder, rng, 0
        (folder / "pictures").mkdir(parents=True, exist_ok=True)

    def new(self, colour: str, shape: str) -> dict[str, str]:
        """A part of an item: a fresh picture."""
        name = f"pictures/{self.count:05d}.png"
        self.count += 1
        picture(colour, shape, self.rng).save(self.folder / name)
        return {"image": name}


def caption_items(pictures: Pictures, count: int) -> Iterator[dict[str, Any]]:
    """For stage one: a caption, answered by its picture."""
    for number in range(count):
        colour, shape = KINDS[number % len(KINDS)]
        caption = (
            pictures.rng.choice(CAPTIONS).format(colour=colour, shape=shape)
            if number >= len(KINDS)
            else CAPTION.format(colour=colour, shape=shape)
        )
        yield {
            "id": f"caption-{number}",
            "parts": [{"text": caption}],
            "target": [pictures.new(colour, shape) | {"caption": caption}],
        }


def task_items(pictures: Pictures, count: int) -> Iterator[dict[str, Any]]:
    """For stage two, single steps: draw what is named; draw another shape of a picture's colour; say what a picture shows."""
    rng = pictures.rng
    for number in range(count):
        (colour, shape), other = rng.choice(KINDS), rng.choice(SHAPES)
        kind = ("same", "same", "draw", "what")[number % 4]
        if kind == "same":
            parts = [pictures.new(colour, other), {"text": DRAW_SAME.format(shape=shape), "once": True}]
            target = [pictures.new(colour, shape)]
        elif kind == "draw":
            parts = [{"text": DRAW.format(what=CAPTION.format(colour=colour, shape=shape)), "once": True}]
            target = [pictures.new(colour, shape)]
        else:
            parts = [pictures.new(colour, shape), {"text": WHAT, "once": True}]
            target = [{"text": CAPTION.format(colour=colour, shape=shape)}]
        yield {"id": f"{kind}-{number}", "parts": parts, "target": target}


def story_items(pictures: Pictures, count: int, steps: int = 5) -> Iterator[dict[str, Any]]:
    """Stories: a first picture is shown, then each step is asked what comes next, and answers with a text and a picture."""
    for number in range(count):
        colour, shape = KINDS[(number * 7) % len(KINDS)]
        opening = [{"text": f"a {shape}"}, pictures.new(colour, shape)]
        story = []
        for step in range(steps):
            shape = following(shape)
            parts = [*(opening if step == 0 else []), {"text": NEXT, "once": True}]
            story.append({"parts": parts, "target": [{"text": f"a {shape}"}, pictures.new(colour, shape)]})
        yield {"id": f"story-{number}", "steps": story}


def last_step(story: dict[str, Any]) -> dict[str, Any]:
    """A story of which only the last step is asked for: all before it is history."""
    *before, last = story["steps"]
    past = [part for step in before for part in (*step["parts"], *step["target"]) if not part.get("once")]
    return {"id": story["id"], "history": past, **last}


def last_scene(story: dict[str, Any]) -> dict[str, Any]:
    """The last picture of a story, whose shape is named, after the step before: as VIST's last scene is drawn from its text."""
    *_, before, last = story["steps"]
    text, picture = last["target"]
    told = {"text": DRAW_SAME.format(shape=text["text"].removeprefix("a ")), "once": True}
    return {"id": story["id"], "history": before["target"], "parts": [told], "target": [picture]}


def write_world(folder: Path, *, seed: int = 0, captions: int = 320, tasks: int = 640, stories: int = 160) -> None:
    """All files and their pictures."""
    pictures = Pictures(folder, random.Random(seed))
    items: dict[str, Iterable[dict[str, Any]]] = {
        "captions": caption_items(pictures, captions),
        "tasks": task_items(pictures, tasks),
        "stories": list(story_items(pictures, stories)),
    }
    items |= {"last": map(last_step, items["stories"]), "scenes": map(last_scene, items["stories"])}
    lines = {name: "".join(json.dumps(item) + "\n" for item in some) for name, some in items.items()}
    lines["all"] = lines["tasks"] + lines["stories"]
    for name, text in lines.items():
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--captions", type=int, default=320)
    parser.add_argument("--tasks", type=int, default=640)
    parser.add_argument("--stories", type=int, default=160)
    words = parser.parse_args()
    write_world(words.folder, seed=words.seed, captions=words.captions, tasks=words.tasks, stories=words.stories)
    print(words.folder)


if __name__ == "__main__":
    main()
