"""scripts/mini_table.py: the methods side by side on real photos."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import measure_embedded_models

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.long
def test_rows_of_the_sample_photos_hold_their_scores_and_seconds(tmp_path):
    root = tmp_path / "photos" / "coco_karpathy_test"
    (root / "images").mkdir(parents=True)
    for name in ("cat.jpg", "coffee.jpg"):
        (root / "images" / name).write_bytes((ROOT / "data" / "unfamiliar_photos" / name).read_bytes())
    document = {
        "images": [{"id": i, "file_name": name, "split": "test"} for i, name in enumerate(("cat.jpg", "coffee.jpg"))],
        "annotations": [
            {"image_id": 0, "caption": "a cat looks at the camera"},
            {"image_id": 1, "caption": "a cup of coffee on a table"},
        ],
    }
    (root / "captions.json").write_text(json.dumps(document))
    words = [
        "--photos",
        "photos",
        "--sets",
        "coco_karpathy_test",
        "--methods",
        "contrastive",
        "nucleus",
        "--metrics",
        "bleu",
        "run.threads=1",
        "run.workers=0",
    ]
    command = [sys.executable, str(ROOT / "scripts" / "mini_table.py"), *words]
    result = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    rows = {
        line.split(" | ")[0].strip("| "): line.strip("| ").split(" | ")
        for line in result.stdout.splitlines()
        if line.startswith("| ")
    }
    score = json.loads((tmp_path / "runs/mini_table/coco_karpathy_test-contrastive/metrics.json").read_text())["metrics"][
        "bleu_1"
    ]["value"]
    assert rows["Contrastive"][1:3] == ["2", f"{100 * score:.1f}"] and float(rows["Contrastive"][-1]) > 0
    assert rows["Nucleus"][1] == "2" and "±" in rows["Nucleus"][2] and rows["method"][2] == "B@1"


def test_ctrl_c_ends_the_script_and_not_only_one_method(monkeypatch):
    monkeypatch.setattr(measure_embedded_models, "magic", lambda words: 130)
    with pytest.raises(SystemExit) as stop:
        measure_embedded_models.quietly(["caption"])
    assert stop.value.code == 130
    monkeypatch.setattr(measure_embedded_models, "magic", lambda words: 3)
    assert measure_embedded_models.quietly(["evaluate"]) == 3
