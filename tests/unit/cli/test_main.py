"""The command line at its edge: words in, exit status and one line out."""

import errno
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from torch import OutOfMemoryError

from magic_cli.cli.command_table import COMMANDS
from magic_cli.cli.main import main, quote, translate
from magic_cli.configuration.composing import settings_of
from magic_cli.configuration.files import find_config_dir
from magic_cli.errors import SettingsError

CAPTION = COMMANDS["caption"]


def test_flags_and_overrides_mix_in_any_order():
    flags, overrides = translate(["decoding.k=5", "-m", "--dataset", "coco", "run.seed=1", "--cfg", "job"], CAPTION)
    assert flags == ["-m", "--cfg", "job"]
    assert overrides == ["decoding.k=5", "dataset=coco", "run.seed=1"]


def test_image_flags_are_collected_into_one_list():
    _, overrides = translate(["--image", "a.jpg", "decoding.k=5", "--image=b, c.jpg"], CAPTION)
    assert overrides == ["dataset=files", "decoding.k=5", "dataset.paths=['a.jpg','b, c.jpg']"]


ODD_NAMES = ["a b.jpg", "a,b.jpg", "[1] {2} (3).jpg", "it's.jpg", 'say "x".jpg', "${oc.env:HOME}.jpg", "a=b.jpg", "back\\slash.jpg",
             "b\\'q.jpg", "é 日本.jpg", "trailing\\", "a:b#c;d.jpg", "~tilde.jpg", "100%.jpg", "null", "1.5", "true"]  # fmt: skip


@pytest.mark.parametrize("name", ODD_NAMES)
def test_path_arrives_letter_for_letter_when_it_has_odd_letters(name):
    from hydra import compose, initialize_config_dir

    from magic_cli.configuration import composing

    composing.register()
    _, from_flag = translate(["--image", name], CAPTION)
    _, from_setting = translate([f"run.dir={name}"], CAPTION) if name != "null" else (None, [])
    with initialize_config_dir(str(find_config_dir()), version_base="1.3"):
        config = compose("caption", [*from_flag, *from_setting])
    assert list(config.dataset.paths) == [name]
    if name != "null":
        assert config.run.dir == name


@pytest.mark.parametrize(
    "prompt",
    [
        "A man, smiling",
        "A man's dog",
        "Question: what (a)?",
        'say "hello"',
        "[x] ${y} = 1",
        "ends with '",
        "'a' or 'b'",
        '"Stop", he said, "now"',
    ],
)
@pytest.mark.parametrize("spelling", ["--prompt={}", "prompt={}"])
def test_prompt_arrives_letter_for_letter(prompt, spelling):
    from hydra import compose, initialize_config_dir

    from magic_cli.configuration import composing

    composing.register()
    _, overrides = translate(["--image", "a.jpg", spelling.format(prompt)], CAPTION)
    with initialize_config_dir(str(find_config_dir()), version_base="1.3"):
        assert compose("caption", overrides).prompt == prompt


def test_quotes_of_a_flag_s_value_are_its_own_and_those_of_a_setting_hydra_s():
    assert (
        translate(["--prompt", "'Hello'"], CAPTION)[1]
        == [f"prompt={quote(chr(39) + 'Hello' + chr(39))}"]
        == ["prompt='\\'Hello\\''"]
    )
    assert translate(["prompt='Hello'"], CAPTION)[1] == ["prompt='Hello'"]
    assert translate(["-m", "prompt='a, b','c'"], CAPTION)[1] == ["prompt='a, b','c'"]
    assert translate(["-m", "--prompt", "'a',b"], CAPTION)[1] == ["prompt='\\'a\\'','b'"]


@pytest.mark.parametrize(
    ("command", "flag", "setting"),
    [("caption", "--prompt", "prompt"), ("story", "--prompt", "prompt"), ("caption", "--run-dir", "run.dir")],
)
def test_null_on_a_flag_is_a_text_and_in_a_setting_none(command, flag, setting):
    assert (
        translate([flag, "null"], COMMANDS[command])[1]
        == translate([f"{flag}=null"], COMMANDS[command])[1]
        == [f"{setting}='null'"]
    )
    assert translate(["-m", flag, "null,a"], COMMANDS[command])[1] == [f"{setting}='null','a'"]
    assert translate(["--title", "null"], COMMANDS["story"])[1] == ["dataset=title", "dataset.title=['null']"]
    assert translate([f"{setting}=null"], COMMANDS[command])[1] == [f"{setting}=null"]


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


ODD_TEXT = '/data/a, b [1] {x} it\'s "${y}" = 1'


@pytest.mark.parametrize("name", [name for name, command in COMMANDS.items() if command.settings_class])
def test_every_text_setting_arrives_letter_for_letter(name):
    from hydra.core.override_parser.overrides_parser import OverridesParser

    from magic_cli.cli.hydra_app import _settings_class

    texts = [setting for setting, is_text in settings_of(_settings_class(COMMANDS[name])).items() if is_text]
    words = [f"{setting}={ODD_TEXT}" for setting in [*texts, *TEXTS_OF[name]]]
    action = ["action=x"] if COMMANDS[name].action else []
    overrides = translate([*words, *action], COMMANDS[name])[1][len(action) :]
    values = [override.value() for override in OverridesParser.create().parse_overrides(overrides)]
    assert [value.replace("\\$", "$") for value in values] == [ODD_TEXT] * len(words)  # OmegaConf takes that backslash away


# some that must be among them; null, numbers, choices of a type of their own and lists are no texts
TEXTS_OF = {
    "caption": ["run.image_cache", "run.objective", "prompt", "decoding.folder", "decoding.end_token", "dataset.root", "dataset.annotations", "language_model.path"],
    "story": ["dataset.titles", "dataset.retrieved", "image_text_model.pretrained"],
    "evaluate": ["metrics.spice.cache", "spice.cache", "metrics.clip_score.prefix", "id_key", "references", "split"],
    "table": ["human_scores", "metrics.java_home"],
    "human-eval": ["key", "images"],
    "retrieve-images": ["index", "output"],
    "bench": ["photos", "output"],
    "finetune-lm": ["fresh.tokenizer", "dataset.path", "run.dir"],
    "interleave": ["interleaved_model.vokens", "interleaved_model.vision.projection", "dataset.items", "dataset.annotations", "dataset.root", "prompt.template"],
    "merge-runs": ["output"],
    "report": ["title", "output"],
    "live": ["host"],
    "train-vokens": ["interleaved_model.vokens", "interleaved_model.diffusion.path", "dataset.path", "dataset.validation", "run.dir"],
}  # fmt: skip


def test_what_is_no_text_is_left_to_hydra():
    words = [
        "run.dtype=bfloat16",
        "decoding.k=5",
        "run.trace=true",
        "dataset.paths=[a,b]",
        "decoding.clip_text=generated",
        "prompt=null",
        "decoding=top_k",
        "hydra.run.dir=a,b",
    ]
    assert translate(words, CAPTION)[1] == words
    sweep = ["decoding.k=1,2", "decoding.kind=exact,ivf", "decoding.kind=choice(exact,ivf)"]
    assert translate(["-m", *sweep], CAPTION)[1] == [sweep[0], "decoding.kind='exact','ivf'", sweep[2]]


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


def test_quote_doubles_backslashes_only_before_quotes():
    assert quote("a\\b") == "'a\\b'"
    assert quote("a\\'") == "'a\\\\\\''"


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
            ["magic: x: ", "this one folder", "run.dir"],
        ),
        (["caption", "--cfg", "foo"], ["--cfg must be one of job, hydra, all, got 'foo'"]),
        (["caption", "--config-dir", "nosuch"], ["--config-dir=nosuch", "no such folder"]),
        (["caption", "--image", "a.jpg", "--dataset", "coco"], ["--image and --dataset cannot be combined"]),
        (["caption", "--image", "a.jpg", "--images", "b"], ["--image and --images cannot be combined"]),
        (["caption", "--images", "a", "--images", "b"], ["--images was given twice"]),
        (["caption", "--image", ""], ["--image needs a value"]),
        (["doctor", "now"], ["doctor knows no 'now'", "--fetch"]),
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


def test_translate_refuses_rerun_because_it_unpickles():
    with pytest.raises(SettingsError, match="unpickles"):
        translate(["--experimental-rerun", "x"], CAPTION)


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


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), OutOfMemoryError("CUDA out of memory")])
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


def test_cfg_job_prints_settings_to_stdout(tmp_path):
    answer = subprocess.run(
        [sys.executable, "-m", "magic_cli", "caption", "--dataset", "coco", "--cfg", "job"],
        capture_output=True, text=True, check=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": os.getcwd()},
    )  # fmt: skip
    assert "cambridgeltl/magic_mscoco" in answer.stdout
    assert answer.stderr == ""
    assert not list(tmp_path.iterdir()), "showing settings writes nothing"


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
