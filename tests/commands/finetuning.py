"""What tests of ``magic finetune-lm`` share: a small run in an empty folder, and what its files say."""

import json

import pytest

from magic_cli.cli.main import main
from tests import tiny_models

SMALL = [
    "dataset.held_out=0.2", "optimizer.steps=24", "optimizer.lr=0.005", "run.batch_size=4", "run.accumulation=2", "validate.every=8",
    "run.checkpoint_every=5", "run.log_every=3", "run.device=cpu", "run.max_length=20", "optimizer.dropout=0.1",
]  # fmt: skip


SAME = (
    "model.safetensors",
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "metrics.jsonl",
    "report.json",
    "checkpoints/best.pt",
)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts.txt").write_text("".join(f"{caption}\n" for caption in tiny_models.CAPTIONS))


@pytest.fixture
def adapt(tiny_language_model_folder):
    """Run the command on the tiny model: ``adapt(folder, *words)`` returns the exit status."""

    def run(folder, *words):
        return main(
            [
                "finetune-lm",
                "--texts",
                "texts.txt",
                f"language_model.path={tiny_language_model_folder}",
                *SMALL,
                "--output",
                folder,
                *words,
            ]
        )

    return run


def metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
