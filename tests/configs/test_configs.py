"""Every config file composes into checked settings; none is left out."""

import importlib
import json
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir

from magic_cli.cli.command_table import COMMANDS
from magic_cli.configuration import composing
from magic_cli.configuration.composing import to_settings
from magic_cli.configuration.files import find_config_dir
from magic_cli.evaluation.settings import EvaluateSettings, TableSettings
from magic_cli.guides.settings import GuidesSettings
from magic_cli.interleaved.run_settings import INTERLEAVED_DATASETS
from magic_cli.interleaved.training.settings import TrainVokensSettings
from magic_cli.metrics.settings import METRICS, MetricsSettings
from magic_cli.retrieval.image_settings import RetrieveImagesSettings
from magic_cli.runs import choices
from magic_cli.training.settings import FinetuneSettings

CONFIGS = find_config_dir()
GROUPS = ("dataset", "decoding", "language_model", "image_text_model", "run", "rules", "guides", "experiment", "metrics", "machine", "training_texts",
          "interleaved_model", "prompt_form", "stage")  # fmt: skip
SCORING = ("metrics", "machine")
OF_INTERLEAVE = ("interleaved_model", "prompt_form")
FILES = sorted(CONFIGS.rglob("*.yaml"))
FINETUNING = [
    f for f in FILES if f.parent.name == "training_texts" or (f.parent.name == "experiment" and f.stem.startswith("finetune_"))
]
OF_MINIGPT5_TRAINING = [f for f in FILES if f.parent.name == "minigpt5_training"]
OF_VOKENS = [f for f in FILES if f.parent.name == "stage" or (f.parent.name == "experiment" and f.stem.startswith("tiny_"))]
# values that a user must give
NEEDED = {"photos": ["dataset.root=."], "files": ["dataset.paths=[a.jpg]"], "coco_captions": ["dataset.annotations=a", "dataset.root=."],
          "title": ["dataset.title=[a]"], "titles": ["dataset.titles=a.txt"], "parts": ["dataset.parts=[a]"], "items": ["dataset.items=a.jsonl"],
          "shards": ["dataset.files=a.tar"], "parquet": ["dataset.files=a.parquet"],
          "minigpt5_7b": ["interleaved_model.vision.projection=null"]}  # fmt: skip
OF_STORIES = ("title", "titles", "rocstories", "simctg_rocstories")
OF_ITEMS = ("parts", "items", "vist", "vist_train", "mmdialog", "mmdialog_train", "cc3m", "cc3m_train")
NEEDED_BY = {"caption": "files", "story": "title", "interleave": "parts"}


def group_of(file: Path) -> str:
    """The group of a config file; empty for a command's own."""
    return "" if file.parent == CONFIGS else file.relative_to(CONFIGS).parts[0]


def name_of(file: Path) -> str:
    """``group=option``, as it is typed."""
    group = {"prompt_form": "prompt_form@prompt"}.get(group_of(file), group_of(file))
    return f"{group}={file.relative_to(CONFIGS / group_of(file)).with_suffix('').as_posix()}"


def command_of(file: Path) -> str:
    """The command that a config file is chosen for: an experiment says it."""
    if group_of(file) == "experiment":
        return yaml.safe_load(file.read_text())["task"]
    return (
        "story"
        if file.stem in OF_STORIES
        else "interleave"
        if file.stem in OF_ITEMS or group_of(file) in OF_INTERLEAVE
        else "caption"
    )


def test_all_files_are_in_known_groups():
    assert len(FILES) > 30
    assert {group_of(file) for file in FILES} == {*GROUPS, ""}
    assert {file.parent.name for file in FILES if group_of(file) == "experiment"} <= {
        "table1",
        "table2",
        "table3",
        "minigpt5",
        "minigpt5_training",
        "experiment",
    }


@pytest.mark.parametrize(
    "file",
    [
        f
        for f in FILES
        if f.parent != CONFIGS and group_of(f) not in SCORING and f not in [*FINETUNING, *OF_VOKENS, *OF_MINIGPT5_TRAINING]
    ],
    ids=name_of,
)
def test_config_composes_and_converts(file: Path):
    composing.register()
    command = COMMANDS[command_of(file)]
    module, _, settings_class = command.settings_class.rpartition(".")
    overrides = [name_of(file), *NEEDED.get(file.stem, [])]
    if group_of(file) not in ("dataset", "experiment"):
        overrides += NEEDED[NEEDED_BY[command.name]]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        settings = to_settings(compose(command.name, overrides), getattr(importlib.import_module(module), settings_class))
    assert not settings.decoding.needs_language_model or settings.decoding.decoding_len >= 2


@pytest.mark.parametrize(
    "file",
    [f for f in FILES if group_of(f) == "experiment" and f not in [*FINETUNING, *OF_VOKENS, *OF_MINIGPT5_TRAINING]],
    ids=name_of,
)
def test_experiment_names_its_source_and_its_command(file: Path):
    text = file.read_text(encoding="utf-8")
    assert "\n# Source: " in text and f"run by `magic {command_of(file)}`" in text


def test_experiment_of_another_command_is_one_line(tmp_path, monkeypatch, capsys):
    from magic_cli.cli.main import main

    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\ntask: story\n")
    monkeypatch.chdir(tmp_path)
    assert (
        main(
            ["caption", "--config-dir", ".", "experiment=mine", "--image", "a.jpg", "decoding.decoding_len=9", "decoding=greedy"]
        )
        == 2
    )
    out, err = capsys.readouterr()
    assert (
        out == ""
        and err.count("\n") == 1
        and "task=story: this is `magic caption`; an experiment with that task is run by `magic story" in err
    )


@pytest.mark.parametrize("file", FINETUNING, ids=lambda f: f"{f.parent.name}={f.stem}")
def test_finetuning_config_composes_and_converts(file: Path):
    composing.register()
    group = "training_texts@dataset" if file.parent.name == "training_texts" else "experiment"
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        settings = to_settings(compose("finetune_lm", [f"{group}={file.stem}", "dataset.path=a"]), FinetuneSettings)
    assert settings.dataset.train and settings.optimizer.lr == {
        "finetune_embedded": 1.5e-3,
        "finetune_embedded_adapted": 6e-4,
    }.get(file.stem, 2e-5)


@pytest.mark.parametrize("file", OF_VOKENS, ids=lambda f: f"{f.parent.name}={f.stem}")
def test_voken_config_composes_and_converts(file: Path):
    composing.register()
    stage = file.stem.removeprefix("tiny_")
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        words = [f"stage={stage}", "interleaved_model.vokens=tiny" if stage == "mls" else "dataset.path=a"]
        words += [f"experiment={file.stem}"] if file.parent.name == "experiment" else []
        settings = to_settings(compose("train_vokens", words), TrainVokensSettings)
    assert settings.stage.value == stage and settings.adapter.kind.value == {"uas": "none", "mls": "lora"}[stage]


@pytest.mark.parametrize("file", OF_MINIGPT5_TRAINING, ids=lambda f: f.stem)
def test_training_of_minigpt5_differs_from_the_released_values_in_what_its_name_says(file: Path):
    composing.register()
    name = f"experiment=minigpt5_training/{file.stem}"
    words = ["interleaved_model=minigpt5_7b", "interleaved_model.vision.projection=null", "dataset.path=a", name]
    goes_on = file.stem in ("vist_lora", "vist_prefix", "mmdialog")
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        settings = to_settings(
            compose("train_vokens", [*words, *(["interleaved_model.vokens=tiny"] if goes_on else [])]), TrainVokensSettings
        )
    is_one, is_first = file.stem == "vist_one_stage", file.stem.startswith("cc3m")
    assert settings.stage.value == ("uas" if is_first else "mls") and settings.one_stage is is_one
    assert settings.adapter.kind.value == ("none" if is_first else "prefix" if "prefix" in file.stem else "lora")
    assert settings.interleaved_model.num_vokens == (16 if "16" in file.stem else 8)
    assert settings.optimizer.lr == 2e-5 and settings.optimizer.mapper_factor == (10 if is_first else 1)


def test_every_setting_of_training_vokens_has_its_default_in_the_config():
    composing.register()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        settings = to_settings(compose("train_vokens", ["stage=mls", "interleaved_model.vokens=tiny"]), TrainVokensSettings)
    shown = yaml.safe_load((CONFIGS / "train_vokens.yaml").read_text())
    for group in ("dataset", "adapter", "objective", "optimizer", "validate", "run"):
        values = asdict(getattr(settings, group))
        refused = {"dropout"} if group == "optimizer" else set()  # belongs to finetune-lm
        assert set(shown[group]) == set(values) - refused, group
        assert values == asdict(type(getattr(settings, group))()), group


def test_every_finetuning_setting_has_its_default_in_the_config():
    composing.register()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        settings = to_settings(compose("finetune_lm", ["dataset.path=a"]), FinetuneSettings)
    shown = yaml.safe_load((CONFIGS / "finetune_lm.yaml").read_text())
    for group in ("fresh", "objective", "optimizer", "validate", "run"):
        values = asdict(getattr(settings, group))
        assert set(shown[group]) == set(values), group
        defaults = asdict(type(getattr(settings, group))())
        assert values == defaults, group


@pytest.mark.parametrize(("command", "settings_class"), [("evaluate", EvaluateSettings), ("table", TableSettings)])
@pytest.mark.parametrize("model", [f.stem for f in FILES if f.parent.name == "image_text_model"])
def test_scoring_configs_compose_and_convert(command, settings_class, model):
    composing.register()
    overrides = [f"image_text_model={model}", "metrics.java_home=/java", "metrics.names=[clip_score]"]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        settings = to_settings(compose(command, overrides), settings_class)
    assert [metric.name for metric in settings.metrics.chosen()] == ["clip_score"]
    assert settings.metrics.meteor.java_home == settings.metrics.spice.java_home == "/java"


def test_every_setting_of_every_metric_has_its_default_in_the_config():
    shown = yaml.safe_load((CONFIGS / "metrics" / "default.yaml").read_text())
    defaults = MetricsSettings()
    assert shown["names"] == defaults.names
    for name in METRICS:
        fields = {key for key in asdict(getattr(defaults, name)) if name not in ("bleu", "rouge_l", "cider")}
        assert set(shown.get(name, {})) == fields, name
        for key in fields - {"java_home", "prefix", "weights"}:
            assert shown[name][key] == asdict(getattr(defaults, name))[key], f"{name}.{key}"


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_config_opens_with_a_comment_and_is_plain_yaml(file: Path):
    text = file.read_text(encoding="utf-8")
    assert text.startswith("#")
    assert isinstance(yaml.safe_load(text), dict)


def test_every_setting_of_image_retrieval_has_its_default_in_the_config():
    composing.register()
    shown = yaml.safe_load((CONFIGS / "retrieve_images.yaml").read_text())
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        settings = to_settings(
            compose("retrieve_images", ["action=build", "files=[photos]", "index=bank"]), RetrieveImagesSettings
        )
    defaults = asdict(RetrieveImagesSettings(settings.image_text_model, settings.action, settings.files, settings.index))
    assert asdict(settings) == defaults
    for group in (shown, shown["search"], shown["run"]):
        group.pop("defaults", None)
    assert (shown["run"]["dtype"], shown["run"]["engine"]) == ("float32", "local")
    shown["run"] |= {name: defaults["run"][name] for name in ("dtype", "engine")}
    assert (shown.pop("action"), shown.pop("files"), shown.pop("index")) == ("???", [], None)
    assert shown == {name: value for name, value in defaults.items() if name in shown}
    assert defaults.keys() - shown.keys() == {"image_text_model", "action", "files", "index"}


def test_every_method_and_dataset_class_has_a_config():
    methods = {f.stem: yaml.safe_load(f.read_text())["defaults"] for f in (CONFIGS / "decoding").glob("*.yaml")}
    assert set(methods) >= set(choices.DECODING_METHODS)
    ready_made = {name: defaults for name, defaults in methods.items() if name not in choices.DECODING_METHODS}
    assert all(defaults[0] in choices.DECODING_METHODS for defaults in ready_made.values()), "each is a method with other values"
    used = {line.split("/")[-1].split("@")[0] for f in (CONFIGS / "dataset").glob("*.yaml")
            for line in f.read_text().splitlines() if "/schema/dataset/" in line}  # fmt: skip
    assert used == {*choices.DATASETS, *choices.STORY_DATASETS, *INTERLEAVED_DATASETS}


def test_every_setting_of_every_guide_has_its_default_in_the_config():
    shown = yaml.safe_load((CONFIGS / "guides" / "default.yaml").read_text())
    del shown["defaults"]
    defaults = json.loads(json.dumps(asdict(GuidesSettings()), default=lambda choice: choice.value))
    del defaults["second_model"]["recommended"]
    assert [shown["memory"].pop(name) for name in ("unsure", "sure")] == [
        "${recommended:memory_unsure}",
        "${recommended:memory_sure}",
    ]
    assert [defaults["memory"].pop(name) for name in ("unsure", "sure")] == [None, None]
    assert shown == defaults


def test_user_experiment_works_from_another_folder(tmp_path, monkeypatch, capsys):
    from magic_cli.cli.main import main

    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "row.yaml").write_text("# @package _global_\ndecoding: {alpha: 7}\n")
    monkeypatch.chdir(tmp_path)
    assert main(["caption", "--config-dir", "mine", "experiment=row", "--image", "a.jpg"]) == 2
    assert "decoding.alpha must be in [0, 1], got 7" in capsys.readouterr().err
