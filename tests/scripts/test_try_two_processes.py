"""Finetuning in two processes is finetuning in one, and a process that is killed changes nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import tiny_models

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.long
def test_two_processes_have_the_losses_of_one_also_when_each_is_killed(tiny_language_model_folder, tmp_path):
    (tmp_path / "texts.txt").write_text("".join(f"{caption}\n" for caption in tiny_models.CAPTIONS))
    words = [
        "--texts",
        "texts.txt",
        f"language_model.path={tiny_language_model_folder}",
        "dataset.held_out=0.2",
        "run.max_length=20",
    ]
    answer = subprocess.run(
        [sys.executable, str(ROOT / "scripts/try_two_processes.py"), "--folder", "runs", "--steps", "12", "--", *words, "optimizer.lr=0.001"],
        capture_output=True, text=True, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert answer.returncode == 0, answer.stdout + answer.stderr[-2000:]
    assert "After 2 kills: the same bytes" in answer.stdout
