"""Sweeps: launchers that use other processes, searches by optuna, and a sweep that is killed and goes on."""

import contextlib
import itertools
import json
import os
import signal
import time
from pathlib import Path

import pytest
import yaml

import magic_cli.commands.caption
from magic_cli.cli.main import main
from tests.commands.test_crash import halt_at, start, wait


@pytest.fixture
def words(tiny_photos, tiny_language_model_folder, tiny_clip_folder, tmp_path, monkeypatch):
    """Words of a run on the six photos, each with two references."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    names = sorted(file.name for file in tiny_photos.iterdir())
    document = {
        "images": [{"id": i, "file_name": name} for i, name in enumerate(names)],
        "annotations": [
            {"image_id": i, "caption": c} for i in range(len(names)) for c in ("a dog sitting in the park", "the room")
        ],
    }
    (tmp_path / "captions.json").write_text(json.dumps(document))
    return [
        "--dataset", "coco_captions", "dataset.annotations=captions.json", f"dataset.root={tiny_photos}",
        f"language_model.path={tiny_language_model_folder}", "image_text_model=clip_vit_b32", f"image_text_model.path={tiny_clip_folder}",
        "decoding.k=5", "decoding.decoding_len=8", "run.threads=1", "run.workers=0",
    ]  # fmt: skip


def finish(pid) -> int:
    """Exit status of a process whose joblib workers are ended with it, instead of idling on."""
    status = wait(pid)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    return status


def runs(tmp_path):
    return sorted((tmp_path / "runs" / "caption").iterdir())


@pytest.mark.slow
@pytest.mark.long
def test_joblib_runs_points_in_other_processes_and_their_statuses_arrive(words, tiny_photos, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="the extra `joblib`")
    photos = tmp_path / "photos"
    photos.mkdir()
    for file in tiny_photos.iterdir():
        (photos / file.name).write_bytes(file.read_bytes())
    (photos / "disc.jpg").write_text("no picture")
    sweep = ["-m", *words, f"dataset.root={photos}", "decoding.alpha=0.1,0.5", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    sweep.insert(0, "caption")
    assert finish(start(sweep)) == 3
    assert len(runs(tmp_path)) == 2 and (tmp_path / "output.txt").read_text().count("no caption for") == 2
    assert not list((tmp_path / "runs" / ".sweeps").glob("statuses-*"))
    assert finish(start([word.replace("captions.json", "gone.json") for word in sweep])) == 2
    said = (tmp_path / "output.txt").read_text()
    assert "magic: " in said and "gone.json" in said and "Traceback" not in said


@pytest.mark.slow
def test_optuna_searches_by_a_measure_and_started_again_repeats_no_run(words, tmp_path, capsys):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="the extra `optuna`")
    search = [
        "caption", "-m", *words, "decoding.alpha=interval(0.0,0.9)", "decoding.beta=choice(0.5,2.0)", "hydra/sweeper=optuna",
        "hydra.sweeper.n_trials=3", "hydra.sweeper.sampler.seed=1", "hydra.sweeper.direction=maximize", "run.objective=bleu_1",
    ]  # fmt: skip
    assert main(search) == 0
    said = capsys.readouterr()
    values = [float(line.split()[-1]) for line in said.err.splitlines() if line.startswith("magic: bleu_1 ")]
    scores = [json.loads((run / "metrics.json").read_text())["metrics"]["bleu_1"]["value"] for run in runs(tmp_path)]
    assert len(values) == 3 and sorted(values) == pytest.approx(sorted(scores), abs=1e-4)
    found = yaml.safe_load((tmp_path / "runs" / ".sweeps" / "optimization_results.yaml").read_text())
    assert found["best_value"] == pytest.approx(max(scores))
    before = {run.name: (run / "predictions.jsonl").read_bytes() for run in runs(tmp_path)}
    assert main(search) == 0
    assert {run.name: (run / "predictions.jsonl").read_bytes() for run in runs(tmp_path)} == before


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["run.objective=cidr", "decoding.alpha=0.1,0.2"], "run.objective=cidr: no such measure; did you mean cider?"),
        (["hydra/sweeper=optuna", "decoding.alpha=interval(0,1)"], "needs a measure to optimise; set run.objective=cider"),
        (
            ["hydra/sweeper=optuna", "decoding.alpha=interval(0,1)", "run.objective=cider"],
            "a higher cider is better; set hydra.sweeper.direction=maximize",
        ),
        (
            ["hydra/sweeper=optuna", "decoding.alpha=interval(3,4)", "run.objective=cider", "hydra.sweeper.direction=maximize"],
            "decoding.alpha must be in",
        ),
        (
            ["hydra/sweeper=optuna", "decoding.alpha=interval(0,1)", "run.objective=rep_2", "hydra.sweeper.direction=maximize"],
            "direction=minimize",
        ),
    ],
)
def test_searches_that_make_no_sense_are_one_line_before_anything_runs(extra, message, words, tmp_path, capsys):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="the extra `optuna`")
    assert main(["caption", "-m", *words, *extra]) == 2
    out, err = capsys.readouterr()
    assert out == "" and message in err and err.count("\n") == 1
    assert not (tmp_path / "runs" / "caption").exists()


@pytest.mark.slow
def test_sweep_that_is_killed_goes_on_and_ends_like_an_undisturbed_one(words, tmp_path, monkeypatch):
    import torch  # noqa: F401 - imported before forking

    sweep = ["caption", "-m", *words, "dataset.limit=3", "run.batch_size=1", "decoding.alpha=0.1,0.5", "decoding.beta=1,2"]
    undisturbed = tmp_path / "undisturbed"
    undisturbed.mkdir()
    (undisturbed / "captions.json").write_bytes((tmp_path / "captions.json").read_bytes())
    monkeypatch.chdir(undisturbed)
    assert wait(start(sweep)) == 0
    monkeypatch.chdir(tmp_path)
    points = itertools.count(1)
    pid = start(sweep, prepare=halt_at(magic_cli.commands.caption, "run", lambda settings: next(points) == 4))
    folder = tmp_path / "runs" / "caption"
    while not (folder.exists() and len(list(folder.glob("*/predictions.jsonl"))) >= 2):
        time.sleep(0.001)
    os.kill(pid, signal.SIGKILL)
    assert wait(pid) == -signal.SIGKILL
    done = {run.name for run in runs(tmp_path) if manifest(run)["status"] == "complete"}
    assert 1 <= len(done) < 4, "killed in the middle"
    assert wait(start(sweep)) == 0
    names = ("predictions.jsonl", "coco_results.json", "released_format.json")
    files = [
        {(run.name, name): (run / name).read_bytes() for run in runs(place) for name in names}
        for place in (tmp_path, undisturbed)
    ]
    assert files[0] == files[1] and len(files[0]) == 12
    assert all("look_ahead" not in manifest(folder / name)["sessions"][1] for name in done), "what was done is not done anew"


def manifest(run):
    return json.loads((run / "manifest.json").read_text())


@pytest.mark.slow
def test_table_and_plots_of_a_sweep_come_from_its_evaluated_runs(words, tmp_path, capsys):
    assert main(["caption", "-m", *words, "dataset.limit=3", "decoding.alpha=0.1,0.5", "decoding.beta=1,2"]) == 0
    assert main(["table", "sweep", "runs/caption", "--metric", "bleu_1"]) == 2
    assert "first run `magic evaluate 'runs/caption/*'`" in capsys.readouterr().err
    assert main(["evaluate", "runs/caption/*", "--metrics", "bleu"]) == 0
    capsys.readouterr()
    assert main(["table", "sweep", "runs/caption", "--metric", "bleu_1", "--plot", "plots/b.png", "--format", "json"]) == 0
    [table] = json.loads(capsys.readouterr().out)
    values = {json.loads((run / "metrics.json").read_text())["metrics"]["bleu_1"]["value"] for run in runs(tmp_path)}
    assert len(table["records"]) == 4 and {record["value"] for record in table["records"]} == values
    assert {"decoding.alpha", "decoding.beta"} < set(table["records"][0]) and "dataset.name" not in table["records"][0]
    names = {f"b_{kind}.{suffix}" for kind in ("heat_map", "lines") for suffix in ("png", "svg")}
    assert {file.name for file in (tmp_path / "plots").iterdir()} == names
    (runs(tmp_path)[0] / "metrics.json").unlink()
    assert main(["table", "sweep", "runs/caption", "--metric", "bleu_1"]) == 3
    out, err = capsys.readouterr()
    assert "No value for" in out and "is not evaluated" in err


def test_sweep_says_which_point_runs_and_one_error_once(words, tmp_path, capsys):
    sweep = ["caption", "-m", *words, "decoding.alpha=0.1,0.5", "language_model=gpt2", "run.workers=0"]
    sweep.remove(next(word for word in sweep if word.startswith("language_model.path=")))
    assert main([*sweep, "decoding=magic,contrastive"]) == 2
    said = capsys.readouterr().err.splitlines()
    points = [
        "decoding.alpha=0.1 decoding=magic",
        "decoding.alpha=0.1 decoding=contrastive",
        "decoding.alpha=0.5 decoding=magic",
        "decoding.alpha=0.5 decoding=contrastive",
    ]
    assert said[::2] == [f"magic: point {number} of 4: {point}" for number, point in enumerate(points, start=1)]
    assert said[1].startswith("magic: language_model.name=gpt2: ") and said[3::2] == ["magic: the same error as at point 1"] * 3


def test_single_runs_and_repeats_say_what_they_are(words, capsys):
    words = ["caption", *words, "run.workers=0", "run.batch_size=6"]
    assert main(words) == 0
    [said] = capsys.readouterr().err.splitlines()
    assert said.startswith("magic: 6 captions; 6 new in ") and said.endswith(
        f"; run folder: {next(Path('runs/caption').iterdir())}"
    )
    assert main([*words, "decoding=top_k", "run.repeats=2", "run.dir=out"]) == 0
    said = capsys.readouterr().err.splitlines()
    assert said[::2] == ["magic: run 1 of 2: run.repeat=1", "magic: run 2 of 2: run.repeat=2"] and "out/repeat-2" in said[3]
