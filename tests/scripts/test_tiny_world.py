"""The tiny world that ships: its judges, and what its trained vokens draw, by judges that were trained apart."""

import importlib
import random
import sys
from pathlib import Path

import pytest

from magic_cli.data.interleaved import read_interleaved
from magic_cli.interleaved.folders import TINY_FOLDER
from magic_cli.interleaved.prompts import PromptSettings

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture(scope="module")
def measuring():
    sys.path.insert(0, str(SCRIPTS))
    try:
        yield importlib.import_module("measure_tiny_world")
    finally:
        sys.path.remove(str(SCRIPTS))


@pytest.fixture(scope="module")
def world(measuring):
    return sys.modules["tiny_world"]


@pytest.fixture(scope="module")
def judges(measuring):
    return measuring.judges()


@pytest.fixture(scope="module")
def unseen(world, tmp_path_factory):
    """Items of a seed that nothing was trained on."""
    folder = tmp_path_factory.mktemp("world")
    world.write_world(folder, seed=5, captions=16, tasks=64, stories=2)
    return folder


@pytest.fixture(scope="module")
def model(measuring):
    return measuring.load(None, "tiny")


def test_shipped_weights_are_small():
    assert sum(file.stat().st_size for file in TINY_FOLDER.rglob("*.safetensors")) < 12e6


def test_judges_name_real_pictures(world, judges):
    rng = random.Random(3)
    pictures = [world.picture(*kind, rng) for kind in world.KINDS * 4]
    for judge in judges.values():
        assert sum(a == b for a, b in zip(judge.name(pictures), world.KINDS * 4, strict=True)) >= 0.9 * len(pictures)


def test_diffusion_model_alone_draws_what_it_is_told(world, judges):
    import torch

    from magic_cli.interleaved.drawers import Answer, How
    from magic_cli.interleaved.loading import load_text_drawer
    from magic_cli.interleaved.settings import TINY, DiffusionPart, Sampler

    drawer, _ = load_text_drawer(DiffusionPart(name=TINY), device=torch.device("cpu"), dtype=torch.float32)
    answers = [Answer([], "", description=f"a {colour} {shape}") for colour, shape in world.KINDS]
    images = drawer.draw(answers, range(16), How(3.0, 10, Sampler.ddim))
    assert all(sum(a == b for a, b in zip(judge.name(images), world.KINDS, strict=True)) >= 13 for judge in judges.values())


def test_world_is_the_same_again_and_tells_colours_in_pictures_alone(world, unseen, tmp_path):
    world.write_world(tmp_path, seed=5, captions=16, tasks=64, stories=2)
    for file in sorted(unseen.rglob("*.*")):
        assert (tmp_path / file.relative_to(unseen)).read_bytes() == file.read_bytes()
    stories = read_interleaved(unseen / "stories.jsonl", setting="x")
    texts = [part.text for story in stories for step in story.steps for part in (*step.parts, *step.target) if part.text]
    assert len(stories[0].steps) == 5 and not any(colour in text for colour in world.COLOURS for text in texts)


def drawings(world, unseen, kind):
    return [item for item in read_interleaved(unseen / "tasks.jsonl", setting="x") if item.id.startswith(kind)]


def test_trained_vokens_draw_what_is_asked_and_others_do_not(measuring, world, model, judges, unseen):
    questions = measuring.asked(drawings(world, unseen, "draw"), PromptSettings(), 16)
    found = measuring.measure_pictures(model, questions, judges, [3.0], [0])
    fresh = measuring.measure_pictures(measuring.load(None, None), questions, judges, [3.0], [0])
    for name in judges:
        assert found[f"guidance 3, {name}"]["joint"] >= 0.6, found
        assert found["vokens swapped"][name] <= 0.2, found
        assert found["clip_i"][name]["margin"] >= 0.4, found
        assert fresh[f"guidance 3, {name}"]["joint"] <= 0.2, fresh


def test_colour_comes_from_the_picture_of_the_past(measuring, world, model, judges, unseen):
    questions = measuring.asked(drawings(world, unseen, "same"), PromptSettings(), 24)
    found = measuring.measure_history(model, questions, judges, 3.0, [0])
    for name in judges:
        assert found[f"true, {name}"]["colour"] >= 0.6, found
        assert found[f"blank, {name}"]["colour"] <= 0.45, found
        assert found[f"swapped, {name}"]["colour of the swapped"] >= 0.5, found


@pytest.mark.slow
@pytest.mark.long
def test_models_are_built_from_nothing_when_hardly_trained(measuring, tmp_path):
    builder = importlib.import_module("build_tiny_world")
    builder.Builder(tmp_path, half=True, scale=0.001).build()
    built = {file.relative_to(tmp_path) for file in tmp_path.rglob("*.safetensors")}
    assert built == {file.relative_to(TINY_FOLDER) for file in TINY_FOLDER.rglob("*.safetensors")} - {
        Path("vokens/vokens.safetensors")
    }
