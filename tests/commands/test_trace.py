"""What ``run.trace=true`` writes, and that no file of a run claims more than is there, whatever is asked of it later."""

import json

import numpy as np
import pytest
import yaml

from magic_cli.cli.main import main
from magic_cli.runs.identity import _WITHOUT_EFFECT
from magic_cli.runs.settings import RunSettings
from tests.files import lines

pytestmark = pytest.mark.usefixtures("in_tmp_path")

FILES = ("predictions.jsonl", "failures.jsonl", "coco_results.json", "released_format.json")


@pytest.fixture
def caption(tiny_photos, models):
    """``caption("run.dir=out", ...)``: caption the six photos."""
    return lambda *words: main(["caption", "--images", str(tiny_photos), *models, "run.workers=0", *words])


def left_out(folder):
    """Numbers that the trace of a run does not have."""
    return sum(
        value is None for step in lines(folder / "trace.jsonl") for name in ("p", "penalty", "f", "score") for value in step[name]
    )


def claimed(folder):
    settings = yaml.safe_load((folder / "settings.yaml").read_text())["run"]
    return settings["trace"], settings["lazy"]


def sessions(folder):
    return json.loads((folder / "manifest.json").read_text())["sessions"]


def test_trace_holds_every_step(tiny_photos, models, tmp_path, capsys):
    assert main(["caption", "--images", str(tiny_photos), *models, "run.dir=out", "run.trace=true"]) == 0
    steps = lines(tmp_path / "out" / "trace.jsonl")
    for prediction in lines(tmp_path / "out" / "predictions.jsonl"):
        own = [step for step in steps if step["id"] == prediction["id"]]
        assert [step["choice"] for step in own] == prediction["token_ids"]
        assert [step["step"] for step in own] == list(range(len(own)))
        for step in own:
            terms = zip(step["p"], step["penalty"], step["f"], strict=True)
            score = [0.98 * p - 0.02 * q + 2.0 * f for p, q, f in terms]
            assert step["token_ids"][int(np.argmax(score))] == step["choice"]
            assert abs(sum(step["f"]) - 1) < 1e-5 and len(step["tokens"]) == 5


def test_trace_leaves_numbers_out_only_when_asked_and_no_token_changes(caption, tmp_path, capsys):
    for name, extra in {"default": [], "lazy": ["run.lazy=true"], "alone": ["run.batch_size=1", "run.lazy=false"]}.items():
        assert caption(f"run.dir={name}", "run.trace=true", *extra) == 0
    assert [left_out(tmp_path / name) > 0 for name in ("default", "lazy", "alone")] == [False, True, False]
    assert caption("run.dir=plain") == 0
    files = [(tmp_path / name / "predictions.jsonl").read_bytes() for name in ("default", "lazy", "alone", "plain")]
    assert len(set(files)) == 1


def test_whole_trace_asked_of_a_lazy_one_is_said_and_settings_stay_true(caption, tmp_path, capsys):
    assert caption("run.dir=out", "run.trace=true", "run.lazy=true") == 0
    before = (tmp_path / "out" / "trace.jsonl").read_bytes()
    for extra in (["run.lazy=false"], []):
        capsys.readouterr()
        assert caption("run.dir=out", "run.trace=true", *extra) == 0
        said = capsys.readouterr().err
        assert (
            "6 traces were written with run.lazy=true earlier and leave numbers out; for whole ones, set another run.dir" in said
        )
        assert (tmp_path / "out" / "trace.jsonl").read_bytes() == before and claimed(tmp_path / "out") == (True, True)
    assert "run.lazy True -> False" in sessions(tmp_path / "out")[1]["otherwise"]
    capsys.readouterr()
    assert caption("run.dir=out", "run.trace=true", "run.lazy=true") == 0
    assert "numbers out" not in capsys.readouterr().err, "what was asked for is there"


def test_folder_of_a_version_whose_traces_were_lazy_by_default_tells_it(caption, tmp_path, capsys):
    assert caption("run.dir=out", "run.trace=true", "run.lazy=true") == 0
    file = tmp_path / "out" / "settings.yaml"
    file.write_text(file.read_text().replace("lazy: true", "lazy: null"))
    assert caption("run.dir=out", "run.trace=true") == 0
    assert "numbers out" in capsys.readouterr().err and claimed(tmp_path / "out") == (True, True)


def test_trace_asked_for_too_late_is_said_and_not_claimed(caption, tmp_path, capsys):
    assert caption("run.dir=out") == 0
    assert caption("run.dir=out", "run.trace=true") == 0
    assert "6 images were captioned without trace earlier; for theirs, set another run.dir" in capsys.readouterr().err
    assert claimed(tmp_path / "out") == (False, None) and not (tmp_path / "out" / "trace.jsonl").exists()
    assert "run.trace False -> True" in sessions(tmp_path / "out")[1]["otherwise"]


@pytest.mark.parametrize(
    ("first", "then", "claims"),
    [
        (["run.trace=true"], [], (False, None)),
        ([], ["run.trace=true"], (False, None)),
        (["run.trace=true"], ["run.trace=true", "run.lazy=true"], (True, True)),
    ],
)
def test_run_that_goes_on_otherwise_claims_only_what_holds_for_all_texts(first, then, claims, caption, tmp_path, capsys):
    assert caption("run.dir=out", *first) == 0
    done = tmp_path / "out" / "predictions.jsonl"
    done.write_text("".join(done.read_text().splitlines(keepends=True)[:2]))  # as if it was killed then
    assert caption("run.dir=out", *then) == 0
    assert claimed(tmp_path / "out") == claims
    traced = {step["id"] for step in lines(tmp_path / "out" / "trace.jsonl")}
    assert (len(traced) == 6) == claims[0] and len(lines(done)) == 6


TRIED = [
    {"batch_size": "3", "device": "cpu", "threads": "2", "step_memory": "0", "lazy": "false", "cache_images": "false"},
    {"workers": "2", "image_cache": "elsewhere", "trace": "true", "parquet": "true"},
]
"""Other values of the settings outside a run's identity that a run on a CPU can have."""
ELSEWHERE = {
    "dir": "the folder itself",
    "compile": "test_caption.py, slow",
    "repeats": "test_repeats.py",
    "objective": "adds metrics.json",
    "report": "test_report.py",
    "devices": "test_engines.py",
    "engine": "test_engines.py",
    "address": "test_engines.py",
    "actors": "test_engines.py",
    "shard": "test_shards.py: a part has a folder of its own",
}


def test_every_setting_outside_the_identity_is_tried():
    assert {name for settings in TRIED for name in settings} | set(ELSEWHERE) == set(_WITHOUT_EFFECT["run"])
    assert set(vars(RunSettings())) - set(_WITHOUT_EFFECT["run"]) == {"dtype", "seed", "repeat"}


def test_settings_outside_the_identity_change_no_file(caption, tmp_path, capsys):
    assert caption("run.dir=as_it_is") == 0
    expected, before = ([(tmp_path / "as_it_is" / name).read_bytes() for name in names] for names in (FILES, ["settings.yaml"]))
    for number, settings in enumerate(TRIED):
        words = [f"run.{name}={value}" for name, value in settings.items()]
        assert caption(f"run.dir={number}", *words) == caption("run.dir=as_it_is", *words) == 0
        assert [(tmp_path / str(number) / name).read_bytes() for name in FILES] == expected
        assert (tmp_path / "as_it_is" / "settings.yaml").read_bytes() == before[0], "nothing was made with them"
    assert not (tmp_path / "as_it_is" / "trace.jsonl").exists()
