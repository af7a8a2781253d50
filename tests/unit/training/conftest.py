"""A tiny model to train, and its settings."""

from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from magic_cli.data.training_texts import TextDataset, TextSource
from magic_cli.models.settings import LanguageModelSettings
from magic_cli.training.settings import FinetuneSettings, ObjectiveSettings, OptimizerSettings, Shape, TrainingRunSettings

ROWS = [[1, 5, 9, 4, 2], [1, 7, 2], [1, 3, 3, 8, 8, 6, 2], [1, 9, 4, 2], [1, 6, 2], [1, 4, 9, 7, 5, 2]]


@pytest.fixture
def make_model():
    """Make a tiny GPT-2 without dropout, the same each time."""

    def make() -> GPT2LMHeadModel:
        torch.manual_seed(0)
        config = GPT2Config(
            vocab_size=12, n_positions=16, n_embd=8, n_layer=2, n_head=2, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0
        )
        return GPT2LMHeadModel(config)

    return make


@pytest.fixture
def make_settings(tmp_path):
    """Make settings: ``make_settings(objective={...}, optimizer={...}, run={...})``."""

    def make(*, objective=None, optimizer=None, run=None) -> FinetuneSettings:
        return FinetuneSettings(
            dataset=TextDataset(train=[TextSource(path="a.txt")], held_out=0.5),
            language_model=LanguageModelSettings(name="none"),
            objective=ObjectiveSettings(**(objective or {})),
            optimizer=OptimizerSettings(**{"warmup": 0.0, "shape": Shape.constant} | (optimizer or {})),
            run=TrainingRunSettings(**{"device": "cpu", "dir": str(Path(tmp_path) / "run")} | (run or {})),
        )

    return make


@pytest.fixture
def rows():
    """Six samples of different lengths."""
    return ROWS
