"""Faults of the user and of the machine are one line each, with the exit status that says which."""

import errno
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from torch import OutOfMemoryError

from magic_cli.cli.main import main


@pytest.mark.parametrize("words", ["bench", "doctor"])
def test_python_without_docstrings_is_said(words, tmp_path):
    answer = subprocess.run(
        [sys.executable, "-OO", "-m", "magic_cli", words], capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": os.getcwd()},
    )  # fmt: skip
    if words == "doctor":
        assert answer.returncode == 3 and re.search("^broken +docstrings .*PYTHONOPTIMIZE=1", answer.stdout, re.MULTILINE)
    else:
        assert (
            answer.returncode == 2
            and answer.stderr.splitlines()[-1].startswith("magic: Python runs without docstrings")
            and "Traceback" not in answer.stderr
        )


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["captoin"], ["captoin", "did you mean caption?"]),
        (["caption", "--imag", "a.jpg"], ["--imag", "did you mean --image?"]),
        (["caption", "a.jpg"], ["'a.jpg'", "--image a.jpg"]),
        (["caption"], ["nothing to caption", "--image"]),
        (["caption", "--image"], ["--image needs a value"]),
        (["caption", "--image", "a.jpg", "decoding.aplha=1"], ["decoding.aplha", "did you mean alpha?"]),
        (["caption", "--image", "a.jpg", "decoding.k=hot"], ["decoding.k", "whole number", "'hot'"]),
        (["caption", "--image", "a.jpg", "decoding.k=2.5"], ["decoding.k", "whole number", "2.5"]),
        (["caption", "--image", "a.jpg", "decoding.alpha=3"], ["decoding.alpha must be in [0, 1], got 3.0"]),
        (["caption", "--image", "a.jpg", "decoding.alpha=nan"], ["decoding.alpha", "finite", "nan"]),
        (["caption", "--image", "a.jpg", "decoding.beta=inf"], ["decoding.beta", "finite", "inf"]),
        (["caption", "--image", "a.jpg", "decoding.beta=-1"], ["decoding.beta must be at least 0, got -1.0"]),
        (["caption", "--image", "a.jpg", "decoding.k=0"], ["decoding.k must be at least 1, got 0"]),
        (["caption", "--image", "a.jpg", "decoding=nucleus", "decoding.p=0"], ["decoding.p must be in (0, 1], got 0.0"]),
        (["caption", "--image", "a.jpg", "decoding=magik"], ["decoding=magik", "did you mean magic?", "typical"]),
        (["caption", "--image", "a.jpg", "decoding=greedy", "decoding.beta=1"], ["decoding.beta", "decoding_len"]),
        (["caption", "--image", "a.jpg", "language_model=gpt3"], ["language_model=gpt3", "did you mean gpt2?"]),
        (["caption", "--image", "a.jpg", "--image-text-model", "clop"], ["image_text_model=clop", "siglip"]),
        (["caption", "--dataset", "cocco"], ["dataset=cocco", "did you mean coco?"]),
        (["caption", "--experiment", "table1/coco_magik"], ["experiment=table1/coco_magik", "did you mean table1/coco_magic?"]),
        (["caption", "--image", "a.jpg", "+decoding.foo=1"], ["unknown setting decoding.foo"]),
        (["caption", "--image", "a.jpg", "+foo=1"], ["unknown setting foo"]),
        (["caption", "--image", "a.jpg", "fooo=1"], ["unknown setting fooo"]),
        (["caption", "--image", "a.jpg", "run.dtype=float31"], ["run.dtype", "did you mean float32?"]),
        (["caption", "--image", "a.jpg", "run.device=gpu"], ["run.device", "cuda", "'gpu'"]),
        (["caption", "--image", "a.jpg", "run.batch_size=null"], ["run.batch_size"]),
        (["caption", "--image", "a.jpg", "language_model.path=/no/such"], ["language_model.path=/no/such", "no such"]),
        (["caption", "-m", "--image", "a.jpg", "decoding.alpha=0.1,3"], ["decoding.alpha must be in [0, 1], got 3.0"]),
        (["caption", "--image", "a.jpg", "--experimental-rerun=x"], ["refused", "unpickles"]),
        (["caption", "--image", "a.jpg", "decoding=null"], ["decoding", "one of its options"]),
        (["caption", "--image", "a.jpg", "decoding.k=null"], ["decoding.k must not be null"]),
        (["caption", "--image", "a.jpg", "decoding.k=5,6"], ["decoding.k=5,6", "-m"]),
        (["caption", "--image", "a.jpg", "+experiment=table1/coco_magic"], ["experiment", "without +"]),
        (["caption", "--image", "a.jpg", "~decoding"], ["decoding is not set", "magic"]),
        (["caption", "--image", "a.jpg", "task=story"], ["task=story"]),
        (
            ["caption", "-m", "--image", "a.jpg", "run.dir=x", "decoding.alpha=0.1,0.3"],
            ["magic: x: ", "into this folder", "run.dir"],
        ),
        (["caption", "--cfg", "foo"], ["--cfg must be one of job, hydra, all, got 'foo'"]),
        (["caption", "--config-dir", "nosuch"], ["--config-dir=nosuch", "no such folder"]),
        (["caption", "--image", "a.jpg", "--dataset", "coco"], ["--image and --dataset cannot be combined"]),
        (["caption", "--image", "a.jpg", "--images", "b"], ["--image and --images cannot be combined"]),
        (["caption", "--images", "a", "--images", "b"], ["--images was given twice"]),
        (["caption", "--image", ""], ["--image needs a value"]),
        (["finetune-lm", "--dataset", "bundled_coco", "--texts", "a.txt"], ["--dataset and --texts cannot be combined"]),
        (["doctor", "now"], ["doctor knows no 'now'", "--fetch"]),
        (["doctor", "--model", ""], ["--model needs a value, got an empty one"]),
        (["doctor", "--model", "a", "--model", "b"], ["--model was given twice"]),
    ],
)
def test_user_fault_gives_one_line_and_exit_2(words, parts, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1 and err.startswith("magic: ")
    for part in parts:
        assert part in err
    assert not list(tmp_path.glob("runs/caption/*")), "nothing may start"


def test_no_value_of_a_sweep_runs_when_one_is_wrong(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jpg").write_bytes(b"")
    assert main(["caption", "-m", "--image", "a.jpg", "decoding.alpha=0.1,0.2,3"]) == 2
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["caption", "--image", "a.jpg"], "magic: stopped; the same command goes on where it stopped\n"),
        (["evaluate", "a.json"], "magic: stopped; the same command starts from the beginning\n"),
        (["table", "1"], "magic: stopped; the same command starts from the beginning\n"),
    ],
)
def test_only_a_command_that_resumes_says_so_when_it_is_stopped(words, said, capsys, monkeypatch):
    def stopped(settings):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)

    monkeypatch.setattr(f"magic_cli.commands.{words[0]}.run", stopped)
    assert main(words) == 130
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EFBIG, "File too large"),
        OutOfMemoryError("CUDA out of memory"),
    ],
)
@pytest.mark.parametrize(
    ("words", "then"),
    [(["caption", "--image", "a.jpg"], "goes on where it stopped"), (["evaluate", "a.json"], "starts from the beginning")],
)
def test_fault_of_the_machine_is_one_line_that_says_what_follows(words, then, error, capsys, monkeypatch):
    def fail(settings):
        raise error

    monkeypatch.setattr(f"magic_cli.commands.{words[0]}.run", fail)
    assert main(words) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.endswith(f"then the same command {then}\n")


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (b"name: [a,\n", "mine.yaml line 2: not valid YAML ("),
        (b"a: b: c\n", "mine.yaml line 1: not valid YAML ("),
        (b'name: "caf\xe9"\n', "a settings file there cannot be read ('utf-8' codec can't decode byte 0xe9"),
        (b"name: \0\n", "a settings file there cannot be read (unacceptable character"),
        (b"[" * 100_000, "lists or settings are nested too deep"),
    ],
)
def test_settings_file_that_is_no_yaml_is_one_line(tmp_path, monkeypatch, capsys, data, part):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cfg" / "dataset").mkdir(parents=True)
    (tmp_path / "cfg" / "dataset" / "mine.yaml").write_bytes(data)
    assert main(["caption", "--config-dir", "cfg", "dataset=mine"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("magic: ") and error.count("\n") == 1 and part in error and "cfg" in error
