"""What ``--help`` shows: for every command what it accepts, at once."""

import re
import subprocess
import sys
import time

import pytest
import yaml
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from magic_cli.cli.command_table import COMMANDS
from magic_cli.cli.main import main
from magic_cli.configuration.files import find_config_dir
from magic_cli.errors import MagicError


@pytest.mark.parametrize(
    "words", [["--help"], [], ["--version"], *([name, "--help"] for name in COMMANDS), ["finetune_lm", "-h"]], ids=" ".join
)
def test_help_imports_neither_torch_nor_hydra(words):
    code = f"import sys; from magic_cli.cli.main import main; main({words!r}); print(sorted({{'torch', 'hydra', 'omegaconf', 'transformers'}} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines()[-1] == "[]"
    assert "magic" in answer.stdout


def test_help_shows_settings_with_their_comments(capsys):
    assert main(["caption", "--help"]) == 0
    text = capsys.readouterr().out
    for part in (
        "--image FILE",
        "decoding.alpha",
        "weight of the degeneration penalty",
        "magic caption --dataset coco",
        "nucleus",
    ):
        assert part in text


SETTING = re.compile(r" +([\w@.]+): (.+?)(?: +# (.+))?")
CHOICE = re.compile(r"  ([\w@]+)(?:: (\w+)|=\.\.\.)(?: +# (.+))?")


WITH_SETTINGS = [name for name, command in COMMANDS.items() if command.settings_class]
# what a user must give, here for each option that needs something
NEEDED = {"files": ["dataset.paths=[a.jpg]"], "photos": ["dataset.root=."], "coco_captions": ["dataset.annotations=a", "dataset.root=."],
          "title": ["dataset.title=[a]"], "titles": ["dataset.titles=a.txt"], "parts": ["dataset.parts=[a]"], "items": ["dataset.items=a.jsonl"],
          "minigpt5_7b": ["interleaved_model.vision.projection=null"], "mls": ["interleaved_model.vokens=tiny"]}  # fmt: skip
NEEDED_BY = {"caption": NEEDED["files"], "story": NEEDED["title"], "human-eval": ["action=score"], "finetune-lm": ["dataset.path=a"],
             "interleave": NEEDED["parts"], "retrieve-images": ["action=build", "files=[a]", "index=b"]}  # fmt: skip


def help_of(name, capsys):
    """The rows of the groups, the command's own settings, and a section for the default of each group."""
    assert main([name, "--help"]) == 0
    text, err = capsys.readouterr()
    assert not err
    rows, *sections = text.partition("\nsettings ")[2].split("\n\n")
    return [CHOICE.fullmatch(row).groups() for row in rows.splitlines()[1:]], *sections


@pytest.fixture
def composed():
    """Composes a command's configs from settings, groups named as a user types them; ``checked`` also converts them."""
    from hydra import compose, initialize_config_dir

    from magic_cli.cli.hydra_app import _settings_class
    from magic_cli.configuration import composing

    composing.register()
    with initialize_config_dir(str(find_config_dir()), version_base="1.3"):

        def composed(name, words, checked=False):
            renamed = COMMANDS[name].renamed
            words = ["=".join([renamed.get(key, key), value]) for key, _, value in (word.partition("=") for word in words)]
            config = compose(name.replace("-", "_"), words)
            return composing.to_settings(config, _settings_class(COMMANDS[name])) if checked else config

        yield composed


@pytest.mark.parametrize("name", WITH_SETTINGS)
def test_names_and_defaults_in_help_compose_when_typed(name, capsys, composed):
    groups, main_settings, *files = help_of(name, capsys)
    points = [
        [f"{group}={default}" for group, default, _ in groups if default],
        [row for row in settings_of(main_settings) if "???" not in row],
    ]
    points += [[heading.strip(), *settings_of(rest)] for heading, _, rest in (section.partition("\n") for section in files)]
    assert len(files) == sum(1 for _, default, _ in groups if default)
    plain = composed(name, [])
    for words in points:
        # the line breaks of a recommended prompt are written as YAML writes them, which is not how they are typed
        assert composed(name, [word for word in words if "\\n" not in word]) == plain, words


@pytest.mark.parametrize("name", WITH_SETTINGS)
def test_help_lists_the_options_that_the_command_accepts(name, capsys, composed):
    from magic_cli.configuration.files import find_config_dir

    for group, default, listed in help_of(name, capsys)[0]:
        folder = COMMANDS[name].renamed.get(group, group).partition("@")[0]
        accepted = listed.split(", ") if listed else [default]
        files = {
            file.relative_to(find_config_dir() / folder).with_suffix("").as_posix()
            for file in (find_config_dir() / folder).rglob("*.yaml")
        }
        refused = sorted(files - {*accepted})
        if folder == "experiment":  # one of each table and of each command
            accepted, refused = accepted[::4], refused[::8]
        for option in (*accepted, *refused):
            needs_own = group == "dataset" and name != "finetune-lm"
            needed = (
                NEEDED.get(option, [])
                if needs_own
                else []
                if folder == "experiment" and name != "finetune-lm"
                else NEEDED_BY.get(name, [])
            )
            needed = [*needed, *(NEEDED.get(option, []) if group in ("interleaved_model", "stage") else [])]
            try:
                composed(name, [f"{group}={option}", *needed], checked=True)
                is_accepted = True
            except (MagicError, HydraException, OmegaConfBaseException):
                is_accepted = False
            assert is_accepted == (option in accepted), f"magic {name} {group}={option}"


@pytest.mark.parametrize("name", WITH_SETTINGS)
def test_help_shows_every_setting_that_the_defaults_select(name, capsys):
    from magic_cli.configuration.files import find_config_dir

    groups, *sections = help_of(name, capsys)
    own = {}
    folders = [(COMMANDS[name].renamed.get(group, group).partition("@")[0], default) for group, default, _ in groups if default]
    for file, section in zip([name.replace("-", "_"), *map("/".join, folders)], sections, strict=True):
        set_there = yaml.safe_load((find_config_dir() / f"{file}.yaml").read_text())
        del set_there["defaults"]
        rows = filter(None, map(SETTING.fullmatch, section.splitlines()))
        shown = flat({row[1]: yaml.safe_load(row[2]) for row in rows})
        packages = ("run", file.partition("/")[0])
        there = {
            key: value for key, value in flat(set_there).items() if not any(f"{package}.{key}" in own for package in packages)
        }  # the command's own win
        own = own or there
        assert list(shown.values()) == list(there.values())
        for full_name, name_in_file in zip(shown, there, strict=True):
            assert f".{full_name}".endswith(f".{name_in_file}")


def settings_of(section):
    return ["=".join(SETTING.fullmatch(row).groups()[:2]) for row in section.splitlines()]


def flat(settings):
    """All settings with their full names."""
    found = {}
    for key, value in settings.items():
        found |= {f"{key}.{inner}": leaf for inner, leaf in flat(value).items()} if isinstance(value, dict) else {key: value}
    return found


def test_help_answers_within_half_a_second():
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "magic_cli", "--help"], capture_output=True, check=True)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.5  # the least disturbed by what else this machine does
