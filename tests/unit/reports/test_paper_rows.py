"""Files and runs are taken for a row of the tables only where that is sure."""

import copy
import json
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from magic_cli.configuration import composing
from magic_cli.configuration.files import find_config_dir
from magic_cli.errors import MagicError, SettingsError
from magic_cli.reports.paper import load_paper
from magic_cli.reports.paper_rows import recognise
from magic_cli.reports.row_files import locate, split_words
from magic_cli.runs.identity import settings_that_matter
from magic_cli.runs.settings import CaptionSettings, StorySettings

CONFIGS = find_config_dir()
EXPERIMENTS = sorted(f"{file.parent.name}/{file.stem}" for file in (CONFIGS / "experiment").glob("table*/*.yaml"))
KNOWN_BY_SETTINGS = [
    name for name in EXPERIMENTS if name.endswith(("magic", "contrastive", "top_k", "nucleus")) and "story" not in name
]
STORIES = [name for name in EXPERIMENTS if name.startswith("table3/")]


def identity_of(*overrides, command="caption"):
    """What the manifest of a run with these settings says."""
    composing.register()
    settings_class = {"caption": CaptionSettings, "story": StorySettings}[command]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        settings = composing.to_settings(compose(command, list(overrides)), settings_class)
    return json.loads(json.dumps(settings_that_matter(settings)))


def row_of_experiment(experiment):
    name = experiment.partition("/")[2]
    section = max((s for s in load_paper().sections if name.startswith(f"{s}_")), key=len)
    return f"{section}/{name.removeprefix(f'{section}_')}"


def test_every_row_of_the_tables_has_an_experiment_in_the_folder_of_its_table():
    paper = load_paper()
    tables = {section: number for number, table in paper.tables.items() for section in table.sections}
    for experiment in EXPERIMENTS:
        section = row_of_experiment(experiment).partition("/")[0]
        assert experiment.startswith(f"table{tables[section]}/"), experiment
    written_by_people_or_from_others = {"story/human", "story/magic_mean", "story/magic_every_ngram"}
    rows = {row_of_experiment(experiment) for experiment in EXPERIMENTS}
    assert set(paper.rows) - rows <= written_by_people_or_from_others and rows <= set(paper.rows)


@pytest.mark.parametrize("experiment", KNOWN_BY_SETTINGS)
def test_run_of_every_experiment_is_its_row(experiment, tmp_path):
    assert len(KNOWN_BY_SETTINGS) == 16
    row = row_of_experiment(experiment)
    assert recognise(tmp_path, identity_of(f"experiment={experiment}")) == row
    moved = identity_of(
        f"experiment={experiment}", "dataset.root=elsewhere", "run.repeat=3", "run.seed=7", "dataset.skip_greyscale=false"
    )
    assert recognise(tmp_path, moved) == row


@pytest.mark.parametrize("experiment", STORIES)
def test_story_run_of_every_experiment_is_its_row(experiment, tmp_path):
    assert len(STORIES) == 7
    row = row_of_experiment(experiment)
    assert recognise(tmp_path, identity_of(f"experiment={experiment}", command="story")) == row
    moved = identity_of(
        f"experiment={experiment}",
        "dataset.titles=t.txt",
        "dataset.retrieved=r.jsonl",
        "run.repeat=3",
        "run.seed=7",
        command="story",
    )
    assert recognise(tmp_path, moved) == row
    for override in (
        "decoding.decoding_len=99",
        "dataset.name=mine",
        "language_model.path=.",
        "prompt='{title}:'",
        "dataset.limit=50",
    ):
        assert recognise(tmp_path, identity_of(f"experiment={experiment}", override, command="story")) is None


def test_case_study_is_no_row(tmp_path):
    assert recognise(tmp_path, identity_of("experiment=case_study", command="story")) is None


@pytest.mark.parametrize(
    "override",
    [
        "decoding.k=44", "decoding.alpha=0.2", "decoding.beta=1", "decoding.decoding_len=20", "decoding.clip_text=prefix_and_generated",
        "decoding.similarity=dot_product", "decoding.clip_text_window=59", "prompt='a photo of'", "dataset.limit=100", "dataset.split=val",
        "dataset.name=mine", "language_model.path=.", "language_model.name=gpt2", "language_model.clean_up_spaces=false",
        "language_model.start_token=x", "image_text_model=siglip", "image_text_model.logit_scale=50", "image_text_model.path=.",
        "language_model.revision=v2", "image_text_model.revision=v2", "run.dtype=bfloat16",
    ],
)  # fmt: skip
def test_run_with_any_other_setting_is_no_row(override, tmp_path):
    assert recognise(tmp_path, identity_of("experiment=table1/coco_magic", override)) is None


_CLIPRE = ("dataset=coco", "decoding=clipre", "decoding.captions_file=dataset_coco.json")


@pytest.mark.parametrize(
    ("overrides", "row"),
    [
        (["decoding.index=released-128"], "coco/clipre"),
        (["decoding.index=full"], "coco/clipre_full"),
        (
            ["decoding.captions_file=null", "decoding.features=float32", "decoding.top_m=1", "dataset.root=elsewhere"],
            "coco/clipre_full",
        ),
        (["dataset=flickr30k", "decoding.captions=flickr30k", "decoding.index=released-128"], "flickr30k/clipre"),
        (["dataset=flickr30k"], "coco_to_flickr30k/clipre_full"),
        (["decoding.captions=flickr30k", "decoding.index=released-128"], "flickr30k_to_coco/clipre"),
    ],
)
def test_run_of_retrieval_is_the_row_of_its_index_and_captions(overrides, row, tmp_path):
    identity = identity_of(
        *[word for word in _CLIPRE if word.partition("=")[0] not in [o.partition("=")[0] for o in overrides]], *overrides
    )
    assert "language_model" not in identity and "folder" not in identity["decoding"]
    assert recognise(tmp_path, identity) == row


@pytest.mark.parametrize(
    "override",
    ["decoding.limit=100", "decoding.kind=ivf", "decoding.captions=mine", "decoding.split=val", "image_text_model=embedded"],
)
def test_run_of_retrieval_with_any_other_setting_is_no_row(override, tmp_path):
    assert recognise(tmp_path, identity_of(*_CLIPRE, override)) is None


def test_every_setting_that_can_change_a_caption_is_looked_at(tmp_path):
    """Also one that is added to the settings later: whatever is set and not known makes a run unsure."""
    known = identity_of("experiment=table1/coco_magic")
    for group in ("decoding", "dataset", "language_model", "image_text_model", "run"):
        changed = copy.deepcopy(known)
        changed[group]["added_later"] = 1
        assert recognise(tmp_path, changed) is None
        changed[group]["added_later"] = None
        assert recognise(tmp_path, changed) == "coco/magic"


@pytest.mark.parametrize(("dataset", "model"), [("coco", "magic_mscoco"), ("flickr30k", "magic_flickr30k")])
def test_zerocap_run_is_its_row_until_a_number_of_it_changes(dataset, model, tmp_path):
    words = [f"dataset={dataset}", f"language_model={model}", "image_text_model=clip_vit_b32", "decoding=zerocap"]
    assert recognise(tmp_path, identity_of(*words)) == f"{dataset}/zerocap"
    assert recognise(tmp_path, identity_of(*words, "decoding.text_cache=false")) == f"{dataset}/zerocap"
    for change in (
        "decoding.num_beams=5",
        "decoding.step_size=0.4",
        "decoding.decoding_len=16",
        "prompt=A",
        "image_text_model=siglip",
    ):
        assert recognise(tmp_path, identity_of(*words, change)) is None, change


@pytest.mark.parametrize("method", ["greedy", "beam", "typical", "rerank"])
def test_run_of_a_method_without_a_row_is_none(method, tmp_path):
    assert recognise(tmp_path, identity_of("dataset=coco", f"decoding={method}")) is None


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("coco/magic_result.json.gz", "coco/magic"),
        ("mscoco/magic_result.json", "coco/magic"),
        ("mscoco/baselines/zerocap_result.json", "coco/zerocap"),
        ("coco/mscoco_in_domain_clipretrieval.json.gz", "coco/clipre"),
        ("flickr30k/nucleus_result_run_2.json", "flickr30k/nucleus"),
        ("flickr30k/baselines/top_k_result_run_3.json.gz", "flickr30k/top_k"),
        ("flickr30k_model_to_mscoco/contrastive_result.json", "flickr30k_to_coco/contrastive"),
        ("mscoco_model_to_flickr30k/magic_result.json", "coco_to_flickr30k/magic"),
        ("anywhere/source_mscoco_target_flickr30k_clip_retrieval.json", "coco_to_flickr30k/clipre"),
        ("story/magic_k_5_alpha_0.6_beta_0.15_result.json.gz", "story/magic"),
        ("flickr30k_model_to_mscoco/zerocap_result.json", None),
        ("mine/magic_result.json", None),
        ("coco/magic_result_run_1.json", None),
        ("coco/top_k_result.json", None),
        ("coco/magic_result.jsonl", None),
        ("coco/my_magic_result.json", None),
        ("coco/story_contrastive_result.json", None),
        ("coco/deeper/magic_result.json", None),
    ],
)
def test_released_names_are_rows_and_others_are_not(name, row, tmp_path):
    assert recognise(tmp_path / name) == row


def test_folder_counts_when_the_path_is_relative(tmp_path, monkeypatch):
    (tmp_path / "coco").mkdir()
    monkeypatch.chdir(tmp_path / "coco")
    assert recognise(Path("magic_result.json")) == "coco/magic"


@pytest.fixture
def tree(tmp_path):
    """A run, a run of unknown settings, two released files, and files that are neither."""
    for name in (
        "released/coco/magic_result.json",
        "released/coco/top_k_result_run_1.json",
        "released/notes.json",
        "released/.hidden/coco/magic_result.json",
        "mine.json",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("[]")
    for name, override in (("right", "run.seed=0"), ("odd", "decoding.k=3")):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        (folder / "predictions.jsonl").write_text('{"id": "1", "caption": "x"}\n')
        (folder / "coco_results.json").write_text("[]")
        (folder / "manifest.json").write_text(
            json.dumps({"identity": identity_of("experiment=table1/coco_contrastive", override)})
        )
    return tmp_path


def test_folders_are_searched_for_released_files_and_runs(tree):
    located = locate([str(tree)], [])
    assert {path.relative_to(tree).as_posix(): row for path, row in located.rows.items()} == {
        "released/coco/magic_result.json": "coco/magic",
        "released/coco/top_k_result_run_1.json": "coco/top_k",
        "runs/right": "coco/contrastive",
    }
    assert located.unknown == [tree / "runs" / "odd"]


def test_named_row_wins_over_what_a_file_seems_to_be(tree):
    file = tree / "released/coco/magic_result.json"
    located = locate([str(tree / "released")], [f"flickr30k/magic={file}", f"coco/zerocap={tree / 'mine.json'}"])
    assert located.rows[file] == "flickr30k/magic" and located.rows[tree / "mine.json"] == "coco/zerocap"
    assert len(located.rows) == 3


def test_patterns_and_paths_with_equals_signs_are_taken(tree):
    assert list(locate([str(tree / "runs/r*")], []).rows) == [tree / "runs/right"]
    (tree / "k=3.json").write_text("[]")
    assert locate([], [f"coco/magic={tree / 'k=3.json'}"]).rows == {tree / "k=3.json": "coco/magic"}


@pytest.mark.parametrize(
    ("places", "pairs", "message"),
    [
        (["mine.json"], [], r"mine.json: it is not known which row this is.* --row coco/magic=mine.json"),
        (["runs/odd"], [], "runs/odd: it is not known which row"),
        (["nowhere"], [], r"nowhere: no such file or folder \(looked at"),
        ([], ["coco/magic"], "--row coco/magic: must be ROW=FILE"),
        ([], ["coco/magik=mine.json"], "unknown row 'coco/magik'; did you mean coco/magic"),
        ([], ["coco/magic=nowhere.json"], "--row coco/magic=nowhere.json: no such file"),
        ([], ["coco/magic=mine.json", "coco/zerocap=mine.json"], "a file was given for two rows"),
    ],
)
def test_what_cannot_be_placed_is_refused_in_one_line(tree, monkeypatch, places, pairs, message):
    monkeypatch.chdir(tree)
    with pytest.raises(SettingsError, match=message) as refused:
        locate(places, pairs)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b'{"identity": 5}', b"{}", b"[" * 200_000])
def test_damaged_manifest_is_named(tree, content):
    (tree / "runs/right/manifest.json").write_bytes(content)
    with pytest.raises(MagicError, match=r"^\S*runs/right/manifest.json( line 1)?: [^\n]*; delete this folder, or name others$"):
        locate([str(tree)], [])


def test_numbers_come_before_places():
    assert split_words(["1", "3", "x", "2"]) == (["1", "3"], ["x", "2"])
    assert split_words(["released"]) == ([], ["released"])


def test_endings_in_capitals_are_files_of_rows(tmp_path):
    file = tmp_path / "cap" / "mscoco_in_domain_clipretrieval.JSON.GZ"
    file.parent.mkdir()
    file.write_bytes(b"")
    assert locate([str(file.parent)], []).rows == {file: "coco/clipre"}
