"""Hydra's own flags: each works with every command, data set and setting, or is refused by one line."""

import logging

import pytest

from magic_cli import __version__
from magic_cli.cli.command_table import COMMANDS
from magic_cli.cli.main import main

WITH_SETTINGS = [name for name, command in COMMANDS.items() if command.settings_class is not None]
SOME_WORDS = {"human-eval": ["make"], "retrieve-images": ["build"]}
"""What a command cannot do without, even if it only shows its settings."""


@pytest.fixture(autouse=True)
def same_logging():
    """Hydra's information sets up logs for the process; afterwards they are as before."""
    handlers, level = list(logging.root.handlers), logging.root.level
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


@pytest.mark.parametrize(
    "words",
    [
        ["caption", "--dataset", "coco"],
        ["story", "--experiment", "table3/story_magic", "decoding.beta=1", "hydra/launcher=basic"],
    ],
)
def test_hydras_help_is_shown_whatever_stands_beside_it(words, capsys):
    assert main([*words, "--hydra-help"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("Hydra (") and "--multirun" in out and err == ""


@pytest.mark.parametrize("name", WITH_SETTINGS)
def test_every_command_shows_its_settings_and_where_they_come_from(name, capsys):
    words = [name, *SOME_WORDS.get(name, [])]
    assert main([*words, "--cfg", "hydra", "-p", "hydra.job"]) == 0
    assert "name: magic\n" in capsys.readouterr().out
    assert main([*words, "--info", "defaults"]) == 0
    assert "Defaults List" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--info"], "--info must be one of all, config, defaults, defaults-tree, plugins, searchpath, got nothing"),
        (["-i", "nope"], "-i must be one of all, config, defaults, defaults-tree, plugins, searchpath, got 'nope'"),
        (["--cfg"], "--cfg must be one of job, hydra, all, got nothing"),
        (["--cfg=jobs"], "--cfg must be one of job, hydra, all, got 'jobs'"),
        (["--cfg", "job", "-c", "all"], "-c was given twice; give it once"),
        (["--config-dir", ".", "-cd", "."], "-cd was given twice; give it once"),
        (["--config-dir"], "--config-dir needs a value"),
        (["--config-dir", "nowhere"], "--config-dir=nowhere: no such folder (looked at"),
        (["--resolve"], "--resolve belongs to --cfg; add --cfg job, or leave it out"),
        (["-p", "dataset"], "--package belongs to --cfg; add --cfg job, or leave it out"),
        (["-p", "nope", "--cfg", "job"], "--package=nope: nothing to show; name a part of --cfg job, such as dataset, "),
        (["-p", "prompt", "--cfg", "job"], "--package=prompt: is null, so there is nothing to show; "),
        (["-p", "dataset.limit", "--cfg", "job"], "--package=dataset.limit: is null, so there is nothing to show; "),
        (["-p", "dataset", "--cfg", "hydra"], "--package=dataset: nothing to show; name a part of --cfg hydra, such as hydra"),
        (["-p", "hydra", "--cfg", "job"], "--package=hydra: nothing to show; name a part of --cfg job, such as dataset, "),
        (["-m=1"], "-m takes no value, got '1'"),
        (["--hydra-help=yes"], "--hydra-help takes no value, got 'yes'"),
        (["--hydra-help", "--cfg", "job"], "--hydra-help and --cfg cannot be combined: "),
        (["-m", "--hydra-help"], "-m and --hydra-help cannot be combined: "),
        (["--experimental-rerun", "x"], "--experimental-rerun is refused: it unpickles files"),
        (["--run"], "unknown flag --run; did you mean --run-dir? ("),
        (["dataset=null", "--cfg", "job"], "dataset=null: a settings group must be one of its options"),
    ],
)
def test_flag_that_cannot_be_taken_is_one_line(words, said, capsys):
    assert main(["caption", "--image", "a.jpg", *words]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"magic: {said}") and err.count("\n") == 1


def test_settings_file_that_is_no_yaml_is_one_line_where_settings_are_only_shown(tmp_path, capsys):
    folder = tmp_path / "my, own's"  # letters that mean something to Hydra
    (folder / "experiment").mkdir(parents=True)
    (folder / "experiment" / "mine.yaml").write_text("a: [\n")
    words = ["caption", "--config-dir", str(folder), "--experiment", "mine"]
    for flags in ([], ["--cfg", "job"], ["--cfg", "job", "-p", "dataset"]):
        assert main([*words, *flags]) == 2
        assert capsys.readouterr().err.startswith(f"magic: {folder}/experiment/mine.yaml line 2: not valid YAML")


@pytest.mark.parametrize(
    "words",
    [["--version"], ["caption", "--version"], ["finetune_lm", "--version"], ["doctor", "--version"], ["help", "--version"]],
)
def test_version_is_told_beside_a_command_too(words, capsys):
    assert main(words) == 0
    assert capsys.readouterr().out == f"magic {__version__}\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nope", "--version"], "unknown command 'nope'"),
        (["caption", "--image", "--version"], "its image does not exist: --version;"),
        (["caption", "--image", "a.jpg", "--version"], "unknown flag --version"),
    ],
)
def test_version_is_not_told_for_a_value_or_an_unknown_command(words, said, capsys):
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == "" and said in err and err.count("\n") == 1


def test_prompt_may_be_the_word_of_a_flag(capsys):
    assert main(["caption", "--image", "a.jpg", "--prompt", "--version", "--cfg", "job"]) == 0
    assert "prompt: --version\n" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["-h", "story"], ["help", "story"], ["story", "-h"]])
def test_help_of_a_command_may_be_asked_for_in_any_order(words, capsys):
    assert main(words) == 0
    assert capsys.readouterr().out.startswith("magic story: ")
