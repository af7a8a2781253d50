"""scripts/try_interleaved_end_to_end.sh: both stages of training, stories, scores, table and page, by one command."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "try_interleaved_end_to_end.sh"


def run(*words, cwd):
    commands = {"MAGIC": f"{sys.executable} -m magic_cli", "PYTHON": sys.executable, "PYTHONPATH": str(ROOT)}
    return subprocess.run([str(SCRIPT), *words], cwd=cwd, env=os.environ | commands, capture_output=True, text=True, timeout=900)


@pytest.mark.long
def test_whole_way_ends_with_scores_table_and_page(tmp_path):
    done = run("--output", "out", "--quick", cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    out = tmp_path / "out"
    assert len((out / "run" / "predictions.jsonl").read_text().splitlines()) == 2
    assert json.loads((out / "told" / "report.json").read_text())["stage"] == "mls" and (out / "run" / "index.html").is_file()
    assert "MiniGPT-5 (LoRA)" in (out / "table.md").read_text() and "CLIP-I" in done.stdout


def test_slips_are_told_at_once(tmp_path):
    assert "unexpected 'now'" in run("now", cwd=tmp_path).stderr and list(tmp_path.iterdir()) == []
    assert "--output FOLDER" in run("--help", cwd=tmp_path).stdout
