"""The command line at its edge: words in, exit status and one line out."""

import os
import subprocess
import sys

import pytest

from magic_cli.cli.command_table import COMMANDS
from magic_cli.cli.main import translate
from magic_cli.errors import SettingsError

CAPTION = COMMANDS["caption"]


def test_flags_and_overrides_mix_in_any_order():
    flags, overrides = translate(["decoding.k=5", "--resolve", "--dataset", "coco", "run.seed=1", "--cfg", "job"], CAPTION)
    assert flags == ["--resolve", "--cfg", "job"]
    assert overrides == ["decoding.k=5", "dataset=coco", "run.seed=1"]


def test_image_flags_are_collected_into_one_list():
    _, overrides = translate(["--image", "a.jpg", "decoding.k=5", "--image=b, c.jpg"], CAPTION)
    assert overrides == ["dataset=files", "decoding.k=5", "dataset.paths=['a.jpg','b, c.jpg']"]


def test_words_are_systems_when_the_command_takes_words(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "beta=2").mkdir()  # a run folder may be called anything
    words = [
        "a.json",
        "--references",
        "refs, 1.json",
        "bootstrap.samples=0",
        "--compare",
        "runs/*",
        "beta=2",
        "--metrics",
        "bleu,cider",
    ]
    flags, overrides = translate(words, COMMANDS["evaluate"])
    assert flags == []
    assert set(overrides) == {
        "references='refs, 1.json'", "bootstrap.samples=0", "compare=true", "systems=['a.json','runs/*','beta=2']", "metrics.names=['bleu','cider']",
    }  # fmt: skip


def test_action_is_the_first_word_and_may_be_a_setting():
    command = COMMANDS["human-eval"]
    assert translate(["--key", "k.json", "score", "a.json", "make"], command)[1] == [
        "action=score",
        "key='k.json'",
        "files=['a.json','make']",
    ]
    assert translate(["a.json", "action=make"], command)[1] == ["action=make", "files=['a.json']"]


def test_flag_without_value_refuses_one():
    with pytest.raises(SettingsError, match="--compare takes no value"):
        translate(["--compare=yes"], COMMANDS["evaluate"])


def test_several_paths_stay_a_sweep_when_multirun_is_on():
    _, overrides = translate(["-m", "language_model.path=/a b,/c"], CAPTION)
    assert overrides == ["language_model.path='/a b','/c'"]


def test_translate_refuses_rerun_because_it_unpickles():
    with pytest.raises(SettingsError, match="unpickles"):
        translate(["--experimental-rerun", "x"], CAPTION)


def test_cfg_job_prints_settings_to_stdout(tmp_path):
    answer = subprocess.run(
        [sys.executable, "-m", "magic_cli", "caption", "--dataset", "coco", "--cfg", "job"],
        capture_output=True, text=True, check=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": os.getcwd()},
    )  # fmt: skip
    assert "cambridgeltl/magic_mscoco" in answer.stdout
    assert answer.stderr == ""
    assert not list(tmp_path.iterdir()), "showing settings writes nothing"
