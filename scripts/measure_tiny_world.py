"""How well vokens that were trained on the tiny world draw: pictures named by two judges, against what was asked for.

    python scripts/measure_tiny_world.py DIR --items captions.jsonl          every item's picture, guidance 1 to 7.5, vokens swapped
    python scripts/measure_tiny_world.py DIR --items tasks.jsonl --history   history true, blanked, and swapped for another colour

DIR is a folder of magic train-vokens on interleaved_model=tiny. Chance is 1/16; a colour or a shape alone, 1/4.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

import tiny_world as world
from magic_cli.configuration.files import find_config_dir
from magic_cli.data.images import open_image
from magic_cli.data.interleaved import InterleavedItem, read_interleaved
from magic_cli.decoding.prompts import Prompt
from magic_cli.interleaved.drawing import Drawing, to_images
from magic_cli.interleaved.folders import TINY_FOLDER
from magic_cli.interleaved.loading import load_interleaved_model
from magic_cli.interleaved.model import InterleavedModel
from magic_cli.interleaved.prompts import Context, PromptSettings, step_prompt
from magic_cli.interleaved.settings import (
    DiffusionPart,
    InterleavedModelSettings,
    LanguagePart,
    MapperSettings,
    Sampler,
    VisionPart,
)
from magic_cli.interleaved.text_conditions import TextConditions
from magic_cli.interleaved.vision import prepare_pixels
from magic_cli.interleaved.vokens import IMAGE_SLOT
from magic_cli.models.work_counter import WorkCounter

CAPTIONS = [world.CAPTION.format(colour=colour, shape=shape) for colour, shape in world.KINDS]


class Judge:
    """A CLIP model that names pictures among the 16 kinds."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoTokenizer, CLIPModel

        self.model = CLIPModel.from_pretrained(folder, dtype=torch.float32).eval()
        tokens = AutoTokenizer.from_pretrained(folder)(CAPTIONS, return_tensors="pt", padding="max_length")
        with torch.no_grad():
            texts = self.model.get_text_features(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask).pooler_output
        self.texts = nn.functional.normalize(texts, dim=-1)

    @torch.no_grad()
    def look(self, images: Sequence[Image.Image]) -> Tensor:
        """(B, E) normalised features."""
        pixels = torch.from_numpy(np.stack([prepare_pixels(image.convert("RGB"), world.SIDE) for image in images]))
        return nn.functional.normalize(self.model.get_image_features(pixel_values=pixels).pooler_output, dim=-1)

    def name(self, images: Sequence[Image.Image]) -> list[tuple[str, str]]:
        """(colour, shape) of each."""
        return [world.KINDS[i] for i in (self.look(images) @ self.texts.T).argmax(dim=1).tolist()]


def judges(models: Path = TINY_FOLDER) -> dict[str, Judge]:
    return {name: Judge(models / name) for name in ("judge", "second_judge")}


def tiny_settings(models: Path | None, vokens: str | None) -> InterleavedModelSettings:
    """Settings of the shipped tiny model, or of one in another folder, with the given vokens."""
    import yaml

    shown = yaml.safe_load((find_config_dir() / "interleaved_model" / "tiny.yaml").read_text())
    place = (lambda part: {"name": "tiny"}) if models is None else (lambda part: {"path": str(models / part)})
    parts = {
        "language_model": LanguagePart(**place("language_model")),
        "vision": VisionPart(**place("vision")),
        "diffusion": DiffusionPart(**place("diffusion")),
    }
    return InterleavedModelSettings(
        "tiny", **parts, vokens=vokens, num_vokens=shown["num_vokens"], mapper=MapperSettings(**shown["mapper"])
    )


def load(models: Path | None, vokens: str | None) -> InterleavedModel:
    model, _ = load_interleaved_model(
        tiny_settings(models, vokens), device=torch.device("cpu"), dtype=torch.float32, work=WorkCounter()
    )
    model.language_model.prepare(decoding_len=256, num_candidates=2)
    return model


@dataclass
class Asked:
    """A step that is answered by a picture: what is read, and the true picture."""

    pieces: list[str | Image.Image]
    truth: Image.Image


def asked(items: Sequence[InterleavedItem], prompt: PromptSettings, limit: int) -> list[Asked]:
    """The steps with a picture in their true answer, with the true history before them."""
    found = []
    for item in items:
        for number, step in enumerate(item.steps):
            truth = next((part.image for part in step.target or () if part.image is not None), None)
            if truth is None:
                continue
            pieces = step_prompt(item, number, item.truth(number), Context.both, prompt)
            text = "".join(f"{part.text} " for part in step.target if part.text)
            opened = [piece if isinstance(piece, str) else open_image(piece) for piece in pieces]
            found.append(Asked([*opened, *([f" {text.strip()}"] if text else [])], open_image(truth)))
    return found[:limit]


@torch.no_grad()
def features(model: InterleavedModel, questions: Sequence[Asked]) -> Tensor:
    """(B, n, H) states that predict the vokens, read in one pass as in training."""
    rows = []
    for question in questions:
        images = [piece for piece in question.pieces if not isinstance(piece, str)]
        vectors = list(model.read_images([model.prepare_image(image) for image in images])) if images else []
        prompt = model.prompt("".join(piece if isinstance(piece, str) else IMAGE_SLOT for piece in question.pieces), vectors)
        whole = Prompt([*prompt.ids, *model.voken_ids], prompt.vectors)
        rows.append(model.language_model.prefill([whole]).hidden[0, -len(model.voken_ids) - 1 : -1])
    return torch.stack(rows)


def drawn(model: InterleavedModel, states: Tensor, *, guidance: float, seed: int, steps: int = 20) -> list[Image.Image]:
    """Pictures of states, 32 at a time."""
    images = []
    for start in range(0, len(states), 32):
        part = states[start : start + 32]
        seeds = [seed * 100_003 + start + i for i in range(len(part))]
        images += model.draw(part, seeds, guidance=guidance, steps=steps, sampler=Sampler.ddim)
    return images


def shares(named: Sequence[tuple[str, str]], wanted: Sequence[tuple[str, str]]) -> dict[str, float]:
    """Shares of pictures whose kind, colour and shape are right."""
    both, colour, shape = (
        sum(test(a, b) for a, b in zip(named, wanted, strict=True)) / len(wanted)
        for test in (lambda a, b: a == b, lambda a, b: a[0] == b[0], lambda a, b: a[1] == b[1])
    )
    return {"joint": round(both, 3), "colour": round(colour, 3), "shape": round(shape, 3)}


def clip_i(
    judge: Judge, images: Sequence[Image.Image], truths: Sequence[Image.Image], kinds: Sequence[tuple[str, str]]
) -> dict[str, float]:
    """Mean cosine of each picture with its own true one, and with those of other kinds."""
    cosines = judge.look(images) @ judge.look(truths).T  # (B, B)
    other = torch.tensor([[a != b for b in kinds] for a in kinds])
    own, others = float(cosines.diagonal().mean()), float(cosines[other].mean())
    return {"own": round(own, 3), "others": round(others, 3), "margin": round(own - others, 3)}


def measure_pictures(
    model: InterleavedModel, questions: Sequence[Asked], seen: dict[str, Judge], guidances: Sequence[float], seeds: Sequence[int]
) -> dict[str, Any]:
    """Shares by judge and guidance, the mean over the seeds; with the vokens of the next question of another kind; CLIP-I at the first guidance."""
    wanted = seen["judge"].name([question.truth for question in questions])
    states = features(model, questions)
    found: dict[str, Any] = {
        "pictures": len(questions),
        "judges_agree_on_truth": shares(seen["second_judge"].name([q.truth for q in questions]), wanted)["joint"],
    }
    for guidance in guidances:
        runs = [drawn(model, states, guidance=guidance, seed=seed) for seed in seeds]
        for name, judge in seen.items():
            each = [shares(judge.name(images), wanted) for images in runs]
            found[f"guidance {guidance:g}, {name}"] = {
                key: round(sum(one[key] for one in each) / len(each), 3) for key in each[0]
            }
        if guidance == guidances[0]:
            truths = [question.truth for question in questions]
            found["clip_i"] = {name: clip_i(judge, runs[0], truths, wanted) for name, judge in seen.items()}
            moved = _of_another_kind(wanted)
            swapped = [drawn(model, states[moved], guidance=guidance, seed=seed) for seed in seeds]
            found["vokens swapped"] = {
                name: round(sum(shares(judge.name(images), wanted)["joint"] for images in swapped) / len(seeds), 3)
                for name, judge in seen.items()
            }
    return found


def _of_another_kind(kinds: Sequence[tuple[str, str]]) -> list[int]:
    """For each place, the next place whose kind is another one."""
    count = len(kinds)
    return [
        next(((i + step) % count for step in range(1, count) if kinds[(i + step) % count] != kinds[i]), i) for i in range(count)
    ]


def measure_history(
    model: InterleavedModel, questions: Sequence[Asked], seen: dict[str, Judge], guidance: float, seeds: Sequence[int]
) -> dict[str, Any]:
    """What the pictures of the past are worth: as they were, as blank paper, and in another colour."""
    questions = [question for question in questions if any(not isinstance(piece, str) for piece in question.pieces)]
    wanted = seen["judge"].name([question.truth for question in questions])
    rng = random.Random(7)
    others = [rng.choice([colour for colour in world.COLOURS if colour != kind[0]]) for kind in wanted]
    blank = [
        Asked([piece if isinstance(piece, str) else Image.new("RGB", piece.size, "white") for piece in q.pieces], q.truth)
        for q in questions
    ]
    swapped = []
    for question, colour in zip(questions, others, strict=True):
        pieces = [
            piece if isinstance(piece, str) else world.picture(colour, seen["judge"].name([piece])[0][1], rng)
            for piece in question.pieces
        ]
        swapped.append(Asked(pieces, question.truth))
    found: dict[str, Any] = {"pictures": len(questions)}
    for what, asked_for in (("true", questions), ("blank", blank), ("swapped", swapped)):
        states = features(model, asked_for)
        runs = [drawn(model, states, guidance=guidance, seed=seed) for seed in seeds]
        for name, judge in seen.items():
            named = [judge.name(images) for images in runs]
            each = [shares(one, wanted) for one in named]
            found[f"{what}, {name}"] = {key: round(sum(one[key] for one in each) / len(each), 3) for key in each[0]}
            if what == "swapped":
                to = [shares(one, [(colour, kind[1]) for colour, kind in zip(others, wanted, strict=True)]) for one in named]
                found[f"{what}, {name}"]["colour of the swapped"] = round(sum(one["colour"] for one in to) / len(to), 3)
    return found


@torch.no_grad()
def measure_models(models: Path) -> dict[str, Any]:
    """How good the models are that vokens build on: real pictures, those through the autoencoder, and those drawn from the text encoder's conditions."""
    rng = random.Random(99)
    kinds = world.KINDS * 4
    real = [world.picture(*kind, rng) for kind in kinds]
    drawing = Drawing.load(models / "diffusion", torch.float32)
    squares = torch.from_numpy(np.stack([drawing.prepare(image) for image in real]))
    shown = {"real": real, "vae": to_images(drawing.decode(drawing.encode(squares, torch.Generator().manual_seed(0))))}
    texts = TextConditions.load(models / "diffusion", torch.float32, otherwise="build it")
    context, nothing = texts(CAPTIONS).repeat(4, 1, 1), texts([""])
    for guidance in (1.0, 2.0, 3.0, 7.5):
        generators = [torch.Generator().manual_seed(i) for i in range(len(kinds))]
        pixels = drawing.draw(context, nothing, generators, guidance=guidance, steps=20, sampler=Sampler.ddim)
        shown[f"drawn, guidance {guidance:g}"] = to_images(pixels)
    return {
        f"{name}: {what}": shares(judge.name(images), kinds)["joint"]
        for name, judge in judges(models).items()
        for what, images in shown.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vokens", help="folder of magic train-vokens; tiny: the shipped one; none: fresh ones")
    parser.add_argument("--items", type=Path, required=True)
    parser.add_argument("--models", type=Path, help="folder of the tiny world's models; the shipped ones unless given")
    parser.add_argument("--history", action="store_true")
    parser.add_argument("--stage", choices=("uas", "mls"), help="whose prompts; guessed unless given")
    parser.add_argument("--limit", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--guidance", type=float, nargs="+", default=[3.0, 1.0, 2.0, 5.0, 7.5])
    words = parser.parse_args()
    vokens = None if words.vokens == "none" else words.vokens
    model = load(words.models, vokens)
    stage = words.stage or ("mls" if words.history else "uas")
    prompt = PromptSettings(template="{parts}") if stage == "uas" else PromptSettings()
    items = read_interleaved(words.items, setting="--items")
    questions = asked(items, prompt, words.limit)
    seen, seeds = judges(words.models or TINY_FOLDER), range(words.seeds)
    if words.history:
        found = measure_history(model, questions, seen, words.guidance[0], seeds)
    else:
        found = measure_pictures(model, questions, seen, words.guidance, seeds)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
