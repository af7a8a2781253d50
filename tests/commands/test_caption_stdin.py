"""`magic caption --images -`: paths come on stdin, each is answered before the next is read."""

from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from magic_cli.cli.main import main
from tests.files import lines


def feed(monkeypatch, paths, answered):
    """Put paths on stdin; returns how many answers there were when each line was asked for."""
    seen, waiting = [], [f"{path}\n".encode() for path in paths]

    def readline():
        seen.append(len(answered()))
        return waiting.pop(0) if waiting else b""

    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=SimpleNamespace(readline=readline)))
    return seen


def test_each_path_is_answered_before_the_next_is_read_as_a_run_answers_it(
    photos, models, tmp_path, in_tmp_path, monkeypatch, capsys
):
    assert main(["caption", "--images", str(photos), *models, "run.dir=run"]) == 0
    expected = {prediction["image"]: prediction["caption"] for prediction in lines("run/predictions.jsonl")}
    told = []
    monkeypatch.setattr("magic_cli.runs.answering.print_line", lambda *columns: told.append(columns))
    seen = feed(monkeypatch, [*expected, "", next(iter(expected))], lambda: told)
    assert main(["caption", "--images", "-", *models]) == 0
    assert told == [*expected.items(), next(iter(expected.items()))]
    assert seen[:7] == [0, 1, 2, 3, 4, 5, 6]
    assert sorted(place.name for place in tmp_path.iterdir()) == ["cache", "photos", "run"], "nothing else is written"


def test_bad_images_are_told_and_the_next_are_answered(photos, models, tmp_path, in_tmp_path, monkeypatch, capsys):
    (photos / "broken.jpg").write_bytes(b"no picture")
    good = sorted(photos.glob("*.jpg"))[-1]
    feed(monkeypatch, [photos / "broken.jpg", photos / "none.jpg", good], list)
    assert main(["caption", "--images", "-", *models]) == 3
    out, err = capsys.readouterr()
    answers = [line.split("\t") for line in out.splitlines()]
    assert [path for path, _ in answers] == [str(photos / "broken.jpg"), str(photos / "none.jpg"), str(good)]
    assert [bool(caption) for _, caption in answers] == [False, False, True], "whoever waits for an answer gets one"
    assert [line.partition(": ")[2].partition(":")[0] for line in err.splitlines()] == [
        f"no caption for {photos / name}" for name in ("broken.jpg", "none.jpg")
    ]


@pytest.mark.parametrize("setting", ["run.dir=out", "run.trace=true", "run.objective=cider", "run.devices=2", "run.repeats=2"])
def test_what_needs_a_run_folder_is_refused(setting, models, in_tmp_path, monkeypatch, capsys):
    feed(monkeypatch, [], list)
    assert main(["caption", "--images", "-", *models, setting]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"magic: {setting.partition('=')[0]} belongs to a run folder")


@pytest.mark.parametrize("setting", ["run.batch_size=64", "run.batch_size=auto", "run.workers=4"])
def test_what_needs_to_know_all_images_is_refused(setting, models, in_tmp_path, monkeypatch, capsys):
    feed(monkeypatch, [], list)
    assert main(["caption", "--images", "-", *models, setting]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"magic: {setting.partition('=')[0]} has no effect on --images -")


def test_sweep_is_refused_because_stdin_ends_with_its_first_point(models, in_tmp_path, monkeypatch, capsys):
    seen = feed(monkeypatch, ["a.jpg"], list)
    assert main(["caption", "-m", "--images", "-", *models, "decoding.beta=1,2"]) == 2
    assert "stdin can be read once" in capsys.readouterr().err
    assert seen == []


def test_limit_and_skipped_images_mean_what_they_mean_in_a_run(photos, models, in_tmp_path, monkeypatch, capsys):
    first, second, *_ = sorted(photos.glob("*.jpg"))
    Image.open(first).convert("L").save("grey.jpg")
    feed(monkeypatch, ["grey.jpg", first, second], list)
    words = ["run.batch_size=1", "run.workers=0", "dataset.limit=2", "dataset.skip_greyscale=true", "guides.memory.weight=0.5"]
    assert main(["caption", "--images", "-", *models, *words]) == 0
    out, err = capsys.readouterr()
    assert [line.split("\t")[0] for line in out.splitlines()] == ["grey.jpg", str(first)]
    assert "guides.memory" in err.splitlines()[0], "settings without effect are told, as in a run"
    assert "no caption for grey.jpg: greyscale" in err


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("locked")])
def test_stopped_process_does_not_promise_to_go_on(error, photos, models, in_tmp_path, monkeypatch, capsys):
    def stop():
        raise error from KeyboardInterrupt()

    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=SimpleNamespace(readline=stop)))
    assert main(["caption", "--images", "-", *models]) == 130
    assert capsys.readouterr().err == "magic: stopped; start it again with the paths that have no line on stdout\n"


@pytest.mark.parametrize("words", [["--images", "-"], ["--images=-"], ["dataset=photos", "dataset.root=-"]])
def test_stop_before_the_settings_are_read_and_a_full_memory_do_not_promise_it_either(words, monkeypatch, capsys):
    def stop(*_):
        raise KeyboardInterrupt

    def fail(_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("magic_cli.commands.caption.run", fail)
    assert main(["caption", *words]) == 2
    then = "start it again with the paths that have no line on stdout\n"
    said = capsys.readouterr().err
    assert "out of memory with run.batch_size=1; choose a smaller model, or" in said and said.endswith(f"; then {then}")
    monkeypatch.setattr("magic_cli.cli.hydra_app.run", stop)
    assert main(["caption", *words]) == 130
    assert capsys.readouterr().err == f"magic: stopped; {then}"
