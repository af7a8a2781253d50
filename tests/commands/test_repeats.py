"""``run.repeats``: several seeded runs of a sampled method by one command."""

import json
import shutil

import pytest

from magic_cli.cli.main import main


@pytest.fixture
def words(tiny_photos, tiny_language_model_folder, tiny_clip_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return [
        "caption", "--images", str(tiny_photos), f"language_model.path={tiny_language_model_folder}", "image_text_model=clip_vit_b32",
        f"image_text_model.path={tiny_clip_folder}", "decoding.decoding_len=10", "run.threads=1", "run.workers=0",
    ]  # fmt: skip


def test_three_repeats_are_the_three_runs_that_repeat_gives(words, tmp_path, capsys):
    words = [*words, "decoding=nucleus"]
    assert main([*words, "run.repeats=3", "run.dir=all"]) == 0
    assert main(["caption", "-m", *words[1:], "run.repeat=1,2,3"]) == 0
    single = {
        json.loads((folder / "manifest.json").read_text())["identity"]["run"]["repeat"]: folder
        for folder in (tmp_path / "runs/caption").iterdir()
    }
    together = [(tmp_path / "all" / f"repeat-{n}" / "predictions.jsonl").read_bytes() for n in (1, 2, 3)]
    assert together == [(single[n] / "predictions.jsonl").read_bytes() for n in (1, 2, 3)]
    assert len(set(together)) == 3
    assert main([*words, "run.repeats=3"]) == 0
    assert len(list((tmp_path / "runs/caption").iterdir())) == 3, "without run.dir they are the same folders"


def test_repeats_that_were_stopped_go_on_and_more_may_be_added(words, tmp_path, capsys):
    words = [*words, "decoding=top_k", "run.dir=out"]
    assert main([*words, "run.repeats=3"]) == 0
    said = capsys.readouterr().out
    before = {n: (tmp_path / "out" / f"repeat-{n}" / "predictions.jsonl").read_bytes() for n in (1, 2, 3)}
    shutil.rmtree(tmp_path / "out" / "repeat-3")
    second = tmp_path / "out" / "repeat-2" / "predictions.jsonl"
    second.write_bytes(before[2][: len(before[2]) // 2])
    assert main([*words, "run.repeats=3"]) == 0
    assert capsys.readouterr().out == said
    assert {n: (tmp_path / "out" / f"repeat-{n}" / "predictions.jsonl").read_bytes() for n in (1, 2, 3)} == before
    assert main([*words, "run.repeat=4", "run.repeats=2"]) == 0
    assert sorted(folder.name for folder in (tmp_path / "out").iterdir()) == [f"repeat-{n}" for n in (1, 2, 3, 4, 5)]


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["run.repeats=3"], "run.repeats=3: decoding=magic is not sampled"),
        (["run.repeats=0"], "run.repeats must be at least 1, got 0"),
        (
            ["-m", "decoding=nucleus", "run.repeats=1,2"],
            "run.repeats: points of the sweep share the run of run.repeat=1 (run.repeats=1 from run.repeat=1; ",
        ),
        (
            ["-m", "decoding=nucleus", "run.repeats=2,3", "run.dir=out"],
            "run.repeats: points of the sweep share the run of run.repeat=1",
        ),
        (
            ["-m", "decoding=nucleus", "run.repeats=2", "run.repeat=1,2"],
            "run.repeats: points of the sweep share the run of run.repeat=2",
        ),
        (["-m", "decoding=nucleus,greedy", "run.repeats=2"], "run.repeats=2: decoding=greedy is not sampled"),
    ],
)
def test_repeats_that_make_no_sense_are_one_line(extra, message, words, tmp_path, capsys):
    assert main([*words, "decoding=magic", *extra] if "-m" not in extra else [*words, *extra]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"magic: {message}") and err.count("\n") == 1
    assert not (tmp_path / "runs").exists() and not (tmp_path / "out").exists()


def test_repeats_of_points_that_share_no_run_are_swept(words, tmp_path, capsys):
    assert main(["caption", "-m", *words[1:], "decoding=nucleus", "run.repeats=2", "run.repeat=1,3", "run.batch_size=2,6"]) == 0
    assert len(list((tmp_path / "runs/caption").iterdir())) == 4, "a batch size makes no other run"
