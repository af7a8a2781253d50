"""magic train-vokens from the command line: argv in; stdout, stderr, files and exit status out."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

import magic_cli
from magic_cli.cli.main import main
from tests.tiny_models import build_photos

ROOT = str(Path(magic_cli.__file__).parents[1])
SAME = ("vokens.safetensors", "vokens.json", "metrics.jsonl", "report.json", "checkpoints/best.pt", "curve.png", "curve.svg")
SMALL = [
    "optimizer.steps=6", "optimizer.warmup_steps=1", "optimizer.lr=0.01", "run.batch_size=3", "run.accumulation=2", "validate.every=3",
    "run.checkpoint_every=2", "run.log_every=1", "run.device=cpu", "dataset.held_out=1", "adapter.prefix_width=8",
    "interleaved_model.mapper.layers=1", "interleaved_model.mapper.heads=2", "interleaved_model.mapper.queries=6",
]  # fmt: skip


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photos = sorted(build_photos(tmp_path / "photos").iterdir())
    captions = [
        {"parts": [{"text": f"a {file.stem} ."}], "target": [{"image": f"photos/{file.name}", "caption": file.stem}]}
        for file in photos
    ]
    tasks = [
        {
            "parts": [{"image": f"photos/{one.name}"}, {"text": "What next?"}],
            "target": [{"text": "A dog."}, {"image": f"photos/{two.name}"}],
        }
        for one, two in zip(photos, photos[1:], strict=False)
    ]
    for name, items in (
        ("captions", captions),
        ("tasks", [*tasks, {"parts": [{"text": "Who?"}], "target": [{"text": "A cat."}]}]),
    ):
        Path(f"{name}.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))


@pytest.fixture
def words(interleaved_folder):
    """The command line of a stage: ``words(stage, items, folder, *more)``."""
    models = [f"interleaved_model.{part}.path={interleaved_folder / part}" for part in ("language_model", "vision", "diffusion")]

    def make(stage, items, folder, *more):
        return ["train-vokens", f"stage={stage}", "--items", items, "--output", folder, *models, *SMALL, *more]

    return make


def test_both_stages_train_one_after_the_other(words, tmp_path, capsys):
    assert main(words("uas", "captions.jsonl", "aligned")) == 0
    out, err = capsys.readouterr()
    assert out == "aligned\n" and "stage uas: 5 training samples, 5 answered by a picture, 1 to measure on" in err
    assert "caption loss" in err.splitlines()[-1]
    first = load_file(tmp_path / "aligned" / "vokens.safetensors")
    report = json.loads((tmp_path / "aligned" / "report.json").read_text())
    assert report["trained_parameters"]["adapter"] == 0 and report["steps"] == 6

    assert main(words("mls", "tasks.jsonl", "told", "--vokens", "aligned")) == 0
    capsys.readouterr()
    second = load_file(tmp_path / "told" / "vokens.safetensors")
    assert {name for name in second if name.startswith("adapter.")} and first.keys() < second.keys()
    for name, weight in first.items():
        is_frozen = name.startswith("mapper.fc") or name == "mapper.queries"
        assert (weight.numpy().tobytes() == second[name].numpy().tobytes()) == is_frozen, name
    assert main(words("mls", "tasks.jsonl", "by_prefix", "--vokens", "aligned", "--adapter", "prefix")) == 0
    manifest = json.loads((tmp_path / "told" / "manifest.json").read_text())
    assert manifest["source"]["vokens"]["stage"] == "uas" and manifest["status"] == "complete"
    assert {"language_model", "vision", "diffusion", "items_sha256"} <= manifest["source"].keys()


@pytest.mark.long
def test_killed_run_ends_with_the_same_bytes(words, tmp_path, capsys):
    assert main(words("uas", "captions.jsonl", "whole")) == 0
    line = words("uas", "captions.jsonl", "killed")
    process = subprocess.Popen([sys.executable, "-m", "magic_cli", *line], cwd=tmp_path, env=os.environ | {"PYTHONPATH": ROOT})
    deadline = time.monotonic() + 120
    while (
        not (tmp_path / "killed" / "checkpoints" / "step-00000002.pt").exists()
        and process.poll() is None
        and time.monotonic() < deadline
    ):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert main(line) == 0
    for name in SAME:
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


@pytest.mark.parametrize(
    ("stage", "more", "line"),
    [
        ("mls", [], "stage two goes on from stage one; name its folder (--vokens DIR)"),
        ("mls", ["--vokens", "nowhere"], "interleaved_model.vokens=nowhere: no such folder"),
        ("mls", ["--vokens", "photos"], "interleaved_model.vokens=photos: has no vokens.json"),
        ("uas", ["adapter.kind=lora"], "adapter.kind=lora: stage one trains no adapter"),
        ("uas", ["objective.drop=1.5"], "objective.drop must be in [0, 1], got 1.5"),
        ("uas", ["optimizer.dropout=0.1"], "optimizer.dropout=0.1: belongs to magic finetune-lm; leave it out"),
        (
            "uas",
            ["interleaved_model.mapper.heads=3"],
            "interleaved_model.mapper.heads must divide the width of the conditions 16, got 3",
        ),
        ("uas", ["interleaved_model.mapper.queries=7"], "set interleaved_model.mapper.queries=6"),
        ("uas", ["dataset.path=nothing.jsonl"], "dataset.path=nothing.jsonl: no such file"),
        (
            "uas",
            ["interleaved_model.diffusion.path=photos"],
            "interleaved_model.diffusion.path=photos: has no scheduler/scheduler_config.json",
        ),
        ("uas", ["interleaved_model.vision.path=photos"], "interleaved_model.vision.path=photos: "),
        ("mls", ["one_stage=true", "adapter.targets=[nothing]"], "set adapter.targets"),
    ],
)
def test_fault_is_one_line_and_status_2(words, stage, more, line, capsys):
    assert main(words(stage, "captions.jsonl", "out", *more)) == 2
    out, err = capsys.readouterr()
    faults = [each for each in err.splitlines() if not each.startswith("magic: stage")]
    assert out == "" and len(faults) == 1 and line in faults[0], err


def test_missing_extra_is_one_line(words, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "peft", None)
    assert main(words("uas", "captions.jsonl", "out")) == 2
    assert "in the clone of magic: pip install '.[interleaved]'" in capsys.readouterr().err.splitlines()[-1]


def test_run_does_not_go_on_with_other_items(words, tmp_path, capsys):
    assert main(words("uas", "captions.jsonl", "out", "optimizer.steps=2")) == 0
    manifest = tmp_path / "out" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"complete"', '"interrupted"'))
    shutil.copy("captions.jsonl", "before.jsonl")
    Path("captions.jsonl").write_text("".join(Path("before.jsonl").read_text().splitlines(keepends=True)[:-1]))
    assert main(words("uas", "captions.jsonl", "out", "optimizer.steps=2")) == 2
    assert "was begun with another model or other texts (items_sha256" in capsys.readouterr().err
