"""What ``--help`` shows: for every command what it accepts, at once."""

import re
import resource
import subprocess
import sys

import pytest
import yaml
from hydra.errors import HydraException
from omegaconf import OmegaConf
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
          "shards": ["dataset.files=a.tar"], "parquet": ["dataset.files=a.parquet"],
          "minigpt5_7b": ["interleaved_model.vision.projection=null"], "mls": ["interleaved_model.vokens=tiny"]}  # fmt: skip
NEEDED_BY = {"caption": NEEDED["files"], "story": NEEDED["title"], "human-eval": ["action=score"], "finetune-lm": ["dataset.path=a"],
             "interleave": NEEDED["parts"], "retrieve-images": ["action=build", "files=[a]", "index=b"]}  # fmt: skip


def help_of(name, capsys):
    """The rows of the groups, the command's own settings, and a section for the default of each group."""
    assert main([name, "--help"]) == 0
    text, err = capsys.readouterr()
    assert not err
    rows, *sections = text.partition("\nsettings ")[2].partition("\n\nTo see ")[0].split("\n\n")
    return [CHOICE.fullmatch(row).groups() for row in rows.splitlines()[1:]], *sections


@pytest.fixture
def composed():
    """Composes a command's configs from settings, groups named as a user types them; ``checked`` also converts them."""
    from hydra import compose, initialize_config_dir

    from magic_cli.configuration import composing

    composing.register()
    with initialize_config_dir(str(find_config_dir()), version_base="1.3"):

        def composed(name, words, checked=False):
            renamed = COMMANDS[name].renamed
            words = ["=".join([renamed.get(key, key), value]) for key, _, value in (word.partition("=") for word in words)]
            config = compose(name.replace("-", "_"), words)
            return composing.to_settings(config, COMMANDS[name].load_settings_class()) if checked else config

        yield composed


@pytest.mark.parametrize("name", WITH_SETTINGS)
def test_names_and_defaults_in_help_compose_when_typed(name, capsys, composed):
    groups, *sections = help_of(name, capsys)
    plain = composed(name, [])
    choices = [f"{group}={default}" for group, default, _ in groups if default]
    assert composed(name, choices) == plain
    # the line breaks of a recommended prompt are written as YAML writes them, which is not how they are typed
    words = [word for section in sections for word in settings_of(section) if "???" not in word and "\\n" not in word]
    assert composed(name, words) == plain, words


# words that name another choice; what they bring into help, and what must not be there without them
NAMED = [
    ("caption --decoding rerank", ["--base NAME", "decoding.num: 16", "decoding.base.p: 0.95"]),
    ("caption --decoding rerank --base top_k", ["decoding.base.k: "]),
    ("caption -m decoding=contrastive,nucleus", ["decoding: contrastive"]),
    ("caption decoding=magic_memory", ["guides.memory.neighbours: 20", "decoding.guides: [image, memory]"]),
    ("caption decoding.guides=[image,second_model]", ["guides.second_model.weight: 1.0"]),
    ("caption dataset=coco", ["dataset.split: test", "language_model: magic_mscoco", "decoding.k: 45"]),
    ("caption --experiment table1/coco_nucleus", ["run.repeats: 3", "decoding: nucleus"]),
    ("caption language_model=gpt2", ['prompt: "A photo of"', "language_model.revision: main"]),
    ("story --titles titles.txt", ["dataset.titles: "]),
    ("interleave --dataset vist", ["dataset.mapping: null", "prompt_form: vist"]),
    ("evaluate metrics=stories", ["metrics.mauve.num_buckets: null", "metrics.coherence.model.name: "]),
    ("evaluate --metrics fid", ["metrics.fid.weights: null"]),
    ("train-vokens stage=mls", ["adapter.kind: lora", "--adapter NAME", "optimizer.mapper_factor: 1.0"]),
]


@pytest.mark.parametrize(("words", "brought"), NAMED, ids=[words for words, _ in NAMED])
def test_help_shows_what_is_named_beside_it(words, brought, capsys):
    name, *others = words.split()
    assert main([name, "--help"]) == 0
    plain = capsys.readouterr().out
    for order in ([name, "--help", *others], [name, *others, "-h"]):
        assert main(order) == 0
        shown = capsys.readouterr().out
        assert [part for part in brought if part not in shown] == []
        assert [part for part in brought if part in plain] == []


@pytest.mark.parametrize("words", [words for words, _ in NAMED if not re.search("experiment|--base|-m ", words)])
def test_help_shows_the_values_that_compose(words, capsys, composed):
    """With what is named, too: the values that Hydra finds are those that are read as text."""
    name, *typed = words.split()
    overrides = typed
    if typed and typed[0] in COMMANDS[name].flags:
        flag = COMMANDS[name].flags[typed[0]]
        overrides = [*filter(None, [flag.also]), f"{flag.setting}={f'[{typed[1]}]' if flag.is_list else typed[1]}"]
    assert main([name, *typed, "--help"]) == 0
    settings = capsys.readouterr().out.partition("\n\n  ")[2]
    config, seen = composed(name, overrides), 0
    for key, value, _ in (match.groups() for match in map(SETTING.fullmatch, settings.splitlines()) if match):
        found = OmegaConf.select(config, key, throw_on_missing=False)
        if value not in ("???", "null") and "${" not in value and not any(word.startswith(f"{key}=") for word in overrides):
            assert agrees(OmegaConf.to_container(found) if OmegaConf.is_config(found) else found, yaml.safe_load(value)), key
            seen += 1
    assert seen >= 5


def agrees(found, shown):
    """Whether a composed value is what is shown; a dictionary may have more keys, from its class."""
    if isinstance(shown, dict):
        return all(agrees(found[key], value) for key, value in shown.items())
    if isinstance(shown, list):
        return len(found) == len(shown) and all(map(agrees, found, shown))
    return str(getattr(found, "value", found)) == str(shown)


REFUSED = [
    ("caption", "decoding.temperature=2", "decoding.temperature"),
    ("caption", "decoding@decoding.base=top_k", "--base"),
    ("caption", "dataset.annotations=a", "dataset.annotations"),
    ("interleave", "decoding=magic decoding.guides=[image,memory]", "decoding.guides"),
    ("train-vokens", "adapter.kind=lora", "adapter"),
    ("train-vokens", "one_stage=true", "  one_stage"),
    ("story", "dataset.titles=a.txt", "dataset.titles:"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "words", "part"), REFUSED)
def test_help_lists_nothing_that_the_command_refuses(name, words, part, capsys, composed):
    needed = [*NEEDED_BY.get(name, []), *(["dataset.path=a"] if name == "train-vokens" else [])]
    composed(name, needed, checked=True)
    with pytest.raises((MagicError, HydraException, OmegaConfBaseException)):
        composed(name, [*needed, *words.split()], checked=True)
    assert main([name, "--help", *(word for word in words.split() if word == "decoding=magic")]) == 0
    flags_and_settings = capsys.readouterr().out.replace("magic interleave decoding.guides", "")
    examples, settings = flags_and_settings.partition("examples:")[0], flags_and_settings.partition("settings (")[2]
    assert part not in examples + settings


def test_help_with_an_option_that_there_is_not_is_one_line(capsys):
    assert main(["caption", "decoding=magik", "--help"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("magic: decoding=magik is unknown; did you mean magic") and err.count("\n") == 1


def test_overview_shows_all_commands_and_at_most_eight_examples(capsys):
    assert main(["--help"]) == 0
    commands, _, examples = capsys.readouterr().out.partition("\nexamples:\n")
    assert all(re.search(rf"^  {name} ", commands, re.MULTILINE) for name in COMMANDS)
    assert 4 <= len(examples.partition("\n\n")[0].splitlines()) <= 8


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
def test_help_shows_every_setting_that_the_defaults_select_and_the_command_takes(name, capsys, composed):
    groups, *sections = help_of(name, capsys)
    shown = {row.partition("=")[0] for section in sections for row in settings_of(section)}
    folders = [(COMMANDS[name].renamed.get(group, group), default) for group, default, _ in groups if default]
    files = {name.replace("-", "_"): ""} | {
        f"{folder.partition('@')[0]}/{default}": folder.rpartition("@")[2] for folder, default in folders
    }
    there = set()
    for file, package in files.items():
        text = (find_config_dir() / f"{file}.yaml").read_text()
        set_there = yaml.safe_load(text)
        set_there.pop("defaults", None)
        there |= set(flat(set_there, "" if text.startswith("# @package _global_") else package))
    hidden = {key for key in there if ".recommended." in f".{key}"}
    hidden |= {key for key in there if key.startswith("guides.")}  # decoding.guides names none of them
    hidden |= {key for key in there if re.match(r"metrics\.(?!meteor|spice)\w+\.", key)}  # metrics.names does not
    hidden |= {key for key in there if key.startswith(("adapter.", "one_stage"))} if name == "train-vokens" else set()
    assert shown == there - hidden - {"stage"} | (shown & {"stage"})


def settings_of(section):
    return ["=".join(SETTING.fullmatch(row).groups()[:2]) for row in section.splitlines() if SETTING.fullmatch(row)]


def flat(settings, prefix=""):
    """The full names of all settings."""
    found = []
    for key, value in settings.items():
        name = f"{prefix}.{key}" if prefix else key
        found += flat(value, name) if isinstance(value, dict) and value else [name]
    return found


def test_help_answers_within_half_a_second():
    seconds = []
    for _ in range(3):
        start = processor_seconds()
        subprocess.run([sys.executable, "-m", "magic_cli", "--help"], capture_output=True, check=True)
        seconds.append(processor_seconds() - start)
    assert min(seconds) < 0.5  # of the processor: the clock would also count what else this machine does


def processor_seconds():
    """Of the children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
