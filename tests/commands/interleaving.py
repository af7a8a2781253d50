"""What tests of ``magic interleave`` share: its words, stories, and what its files say."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from magic_cli.cli.main import main

ONCE = {"text": "What next?", "once": True}


@pytest.fixture
def words(interleaved_folder, tmp_path, monkeypatch):
    """A command in an empty folder: the random model, short answers, few steps, an image in each answer."""
    monkeypatch.chdir(tmp_path)
    parts = [f"interleaved_model.{part}.path={interleaved_folder / part}" for part in ("language_model", "vision", "diffusion")]
    shape = [
        "interleaved_model.vokens=null",
        "interleaved_model.mapper.layers=1",
        "interleaved_model.mapper.heads=2",
        "interleaved_model.mapper.queries=6",
    ]
    return [
        "interleave",
        *parts,
        *shape,
        "decoding.decoding_len=120",
        "max_new_tokens=12",
        "steps=3",
        "run.threads=1",
        "force_image=last",
    ]


@pytest.fixture
def stories(tiny_photos, tmp_path):
    """Three stories of two or three steps with true answers, one item without, and one that cannot be read."""
    photos = tmp_path / "photos"
    shutil.copytree(tiny_photos, photos)
    target = lambda text, name: [{"text": text}, {"image": f"photos/{name}.jpg"}]
    records = [
        {"id": "sea & <b>sun</b>", "steps": [{"parts": [{"text": "Draw:", "once": True}, {"text": "A dog"}], "target": target("They swim.", "sky")},
                                             {"parts": [ONCE], "target": target("It is late.", "sunset")}, {"parts": [ONCE]}]},
        {"id": "walk", "steps": [{"parts": [{"text": "Two dogs"}], "target": target("They run.", "disc")}, {"parts": [ONCE], "target": target("End.", "noise")}]},
        {"id": "tell", "parts": [{"text": "Look at"}, {"image": "photos/stripes.jpg"}, {"text": "and tell."}]},
        {"id": "lost", "parts": [{"image": "photos/lost.jpg"}]},
        {"id": "tree", "steps": [{"parts": [{"image": "photos/gradient.jpg"}], "target": target("A tree.", "sky")}, {"parts": [ONCE]}]},
    ]  # fmt: skip
    return write_items(tmp_path / "stories.jsonl", records)


def write_items(file, records):
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    return file


def keep_only(file, *ids):
    write_items(file, [record for record in map(json.loads, file.read_text().splitlines()) if record["id"] in ids])


def run(words, *more, status=0):
    assert main([*words, *map(str, more)]) == status


def predictions(folder):
    return {one["id"]: one for one in map(json.loads, (Path(folder) / "predictions.jsonl").read_text().splitlines())}


def files(folder):
    """Everything that must not depend on interruptions."""
    folder = Path(folder)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*")
            if path.is_file() and path.name not in ("manifest.json", "settings.yaml", ".lock")}  # fmt: skip


def pixels(folder, prediction):
    return [np.asarray(Image.open(Path(folder) / step["image"]), dtype=int) for step in prediction["steps"]]


def texts(prediction):
    return [step["token_ids"] for step in prediction["steps"]]
