"""magic finetune-lm stopped, killed and started again: what goes on, and what is refused."""

import json
import os
import signal
import time

import pytest
import torch

from magic_cli.training.checkpoints import Checkpoints
from tests.commands.finetuning import SAME, SMALL, adapt, elsewhere  # noqa: F401  fixtures
from tests.commands.test_crash import halt_at, is_running, start, wait


@pytest.mark.slow
def test_killed_run_ends_with_the_same_bytes(adapt, tmp_path, tiny_language_model_folder, device, capsys):
    there = f"run.device={device}"
    assert adapt("whole", there) == 0
    words = [
        "finetune-lm",
        "--texts",
        "texts.txt",
        f"language_model.path={tiny_language_model_folder}",
        *SMALL,
        there,
        "--output",
        "killed",
    ]
    for step in (5, 15):
        halt = halt_at(Checkpoints, "save", lambda self, at, state, last=step + 5: at >= last)
        pid, deadline = start(words, apart=device != "cpu", prepare=halt), time.monotonic() + 120
        checkpoint = tmp_path / "killed" / "checkpoints" / f"step-{step:08d}.pt"
        while not checkpoint.exists() and is_running(pid) and time.monotonic() < deadline:
            time.sleep(0.002)
        os.kill(pid, signal.SIGKILL)
        assert wait(pid) == -signal.SIGKILL
    assert adapt("killed", there) == 0
    for name in SAME:
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert len(json.loads((tmp_path / "killed" / "manifest.json").read_text())["sessions"]) == 3


def test_model_that_training_broke_is_not_kept(adapt, tmp_path, capsys):
    assert (
        adapt(
            "out",
            "optimizer.steps=40",
            "optimizer.lr=10",
            "optimizer.weight_decay=10",
            "optimizer.warmup=0",
            "run.checkpoint_every=100",
            "validate.every=100",
        )
        == 2
    )
    assert capsys.readouterr().err.splitlines()[-1].startswith("magic: the loss is NaN or infinite at step ")
    assert not (tmp_path / "out" / "model.safetensors").exists() and not list((tmp_path / "out" / "checkpoints").iterdir())


def test_complete_run_is_left_as_it_is_and_other_settings_are_refused(adapt, tmp_path, capsys):
    assert adapt("out") == 0
    written = (tmp_path / "out" / "model.safetensors").stat().st_mtime_ns
    assert adapt("out") == 0
    assert (tmp_path / "out" / "model.safetensors").stat().st_mtime_ns == written
    assert adapt("out", "optimizer.lr=0.001") == 2
    assert "holds a run with other settings (optimizer.lr 0.005 -> 0.001)" in capsys.readouterr().err


def test_run_does_not_go_on_with_other_texts(adapt, tmp_path, monkeypatch, capsys):
    from magic_cli.training.checkpoints import Checkpoints

    def stop(self, step, state):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", stop)
        assert adapt("out") == 130
    assert "the same command goes on where it stopped" in capsys.readouterr().err
    with (tmp_path / "texts.txt").open("a") as stream:
        stream.write("One more text.\n")
    assert adapt("out") == 2
    assert "was begun with another model or other texts (texts_sha256" in capsys.readouterr().err


def test_full_disk_is_one_line_and_the_run_goes_on_afterwards(adapt, tmp_path, monkeypatch, capsys):
    assert adapt("whole") == 0
    save, calls = torch.save, []

    def full(state, stream):
        calls.append(state)
        if len(calls) == 3:
            raise RuntimeError("[enforce fail] . unexpected pos 64 vs 0") from OSError(28, "No space left on device")
        save(state, stream)

    monkeypatch.setattr(torch, "save", full)
    assert adapt("out") == 2
    err = capsys.readouterr().err.splitlines()
    assert err[-1].startswith("magic: the disk is full") and "goes on where it stopped" in err[-1]
    assert not list((tmp_path / "out" / "checkpoints").glob(".*"))
    assert adapt("out") == 0
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == (tmp_path / "whole" / "model.safetensors").read_bytes()


def test_checkpoint_of_no_numbers_or_of_another_model_is_refused(adapt, tmp_path, capsys):
    assert adapt("out", "optimizer.steps=2") == 0
    manifest = tmp_path / "out" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"status": "complete"', '"status": "interrupted"'))
    [file] = (tmp_path / "out" / "checkpoints").glob("step-*.pt")
    state = torch.load(file, weights_only=True)
    state["model"]["transformer.wpe.weight"][0, 0] = torch.nan
    for part in ("NaN or infinity in transformer.wpe.weight", "not in its files: transformer.wpe.weight"):
        torch.save(state, file)
        capsys.readouterr()
        assert adapt("out", "optimizer.steps=2") == 2
        assert f"{file.name}: the checkpoint does not fit the model (" in (line := capsys.readouterr().err) and part in line
        state["model"].pop("transformer.wpe.weight", None)
